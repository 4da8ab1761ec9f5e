"""Logging integrations of transformers: TensorBoard and others get the losses of a training."""

from __future__ import annotations

from typing import Any

from hwnas.errors import UnknownNameError, UsageError
from hwnas.training.options import TrainOptions
from hwnas.training.processes import is_first


def check_loggers(options: TrainOptions) -> None:
    """UsageError if a logging integration is unknown to transformers, or its package is not installed."""
    if not options.integrations:
        return
    from transformers.integrations import integration_utils

    integrations: Any = integration_utils
    known, here = integrations.INTEGRATION_TO_CALLBACK, integrations.get_available_reporting_integrations()
    for name in options.integrations:
        if name not in known:
            raise UnknownNameError("logging integration", name, known)
        if name not in here:
            raise UsageError(f"--report-to {name}: the package of {name} is not installed; install it with pip.")


def make_loggers(options: TrainOptions) -> list[Any]:
    """The callbacks of the logging integrations asked for; of several processes, the first one logs.

    Writes the first file of TensorBoard.

    Raises:
        UsageError: TensorBoard's folder cannot be written.
    """
    if not options.integrations or not is_first():
        return []
    from transformers.integrations import integration_utils

    integrations: Any = integration_utils
    made: list[Any] = []
    for name in options.integrations:
        callback = integrations.INTEGRATION_TO_CALLBACK[name]
        if name == "tensorboard" and options.logging_dir is not None:
            from torch.utils.tensorboard import SummaryWriter

            try:
                made.append(callback(SummaryWriter(log_dir=options.logging_dir)))  # type: ignore[no-untyped-call]
            except OSError as error:
                raise UsageError(f"cannot write to --logging-dir {options.logging_dir} ({error.strerror}).") from error
        else:
            made.append(callback())
    return made


def without_prints(trainer: Any) -> None:
    """No prints of the Trainer's own: progress goes to the callback."""
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)
