"""What `--space`, `--align`, `--bounds` and `--front` come to, for the commands that train in a space or draw it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.cli.prepare import device_setting
from hwnas.errors import MissingProfileError, TableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from hwnas.latency.predictor import Predictor
    from hwnas.latency.records import Setting
    from hwnas.pipeline.folder import RunFolder
    from hwnas.pipeline.spec import RunSpec

MEASURED = "measured"
"""The value of `--align` that needs a latency table."""


def with_space(
    spec: RunSpec,
    space: str | None,
    align: str,
    bounds: Path | None,
    *,
    target: str,
    runtime: str,
    precision: str,
    batch: int,
    seq_len: int,
    threads: int,
    rounds: int,
    table: str | None,
) -> RunSpec:
    """A spec with the space that a command's options describe.

    Args:
        spec: What the run is otherwise.
        space, align, bounds: The options; None of the first and the last are their defaults.
        target, runtime, precision, batch, seq_len, threads, rounds, table: The device, for `--align target` and
            `measured`.
    """
    from dataclasses import replace

    from hwnas.pipeline.space import read_bounds
    from hwnas.pipeline.spec import BOUNDED_IN

    if bounds is not None:
        if align != "none":
            raise UsageError("--align with --bounds: the bounds have steps of their own; leave --align out.")
        return replace(spec, space=space or BOUNDED_IN, bounds=read_bounds(bounds))
    spec = replace(spec, space=space or "small")
    if align not in ("target", MEASURED):
        return replace(spec, align=steps_of(align))
    from hwnas.training.pretrained import load_config

    config, setting = load_config(spec.model), None
    if align == MEASURED:
        from hwnas.pipeline.profile import config_of_spec

        config = config_of_spec(spec)
        setting = device_setting(target, runtime, precision, batch, seq_len, threads, rounds)
    subject = "" if setting is None else profiled(None, config, spec.model)
    return replace(spec, align=steps_of(align, target, precision, config, setting, table, subject))


def needs_law(spec: RunSpec, folder: RunFolder) -> bool:
    """Whether a run is to begin that draws near its own front, so that the latencies of sub-networks must be known."""
    from hwnas.training.moving_front import CURRENT

    return spec.train.front == CURRENT and not folder.exists()


def with_law(spec: RunSpec, folder: RunFolder, setting: Callable[[], Setting], table: str | None) -> RunSpec:
    """A spec with the law of the front that `--front current` draws near to: the run's own if it has begun.

    Args:
        spec: What the run is otherwise.
        folder: The run.
        setting: Gives the device; called where there is such a front.
        table: Name of the latency table, None for the default.

    Raises:
        MissingProfileError: The run is to begin, and the table has no profile of its network.
    """
    from dataclasses import replace

    from hwnas.training.moving_front import CURRENT

    if spec.train.front != CURRENT:
        return spec
    device = setting()
    law = _law(spec, device, table) if needs_law(spec, folder) else folder.spec().front_law
    return replace(spec, front_law=law, front_device=device.device())


def _law(spec: RunSpec, setting: Setting, table: str | None) -> dict[str, float]:
    """The law of the latency of a run's sub-networks; MissingProfileError if there is no profile."""
    from hwnas.pipeline.profile import config_of_spec

    config = config_of_spec(spec)
    try:
        law = predictor_of(config, setting, table).latency
    except MissingProfileError as error:
        reason = f"--front current draws near a front of latencies: {error.reason}"
        raise MissingProfileError(
            reason, error.options, subject=profiled(None, config, spec.model), table=table
        ) from error
    return {name: float(value) for name, value in law.to_json()["coefficients"].items()}


def profiled(folder: RunFolder | None, config: Any, model: str | None) -> str:
    """What `hwnas profile` is given to profile this network: the run if it has begun, else the model."""
    if folder is not None and folder.exists():
        return str(folder.path)
    return f"{'' if model is None else f'--model {model} '}--num-labels {config.num_labels}"


def predictor_of(config: Any, setting: Setting, table: str | None, subject: str = "") -> Predictor:
    """The predictor of the latency table; MissingProfileError, which names the subject, if there is no profile."""
    from hwnas.latency.profile import load_predictor
    from hwnas.latency.table import LatencyTable, default_table_path

    try:
        with LatencyTable(table or default_table_path()) as rows:
            return load_predictor(config, setting, rows)
    except MissingProfileError as error:
        raise error.of(subject, table) from error


def steps_of(
    text: str,
    target: str = "cpu",
    precision: str = "fp32",
    config: Any = None,
    setting: Setting | None = None,
    table: str | None = None,
    subject: str = "",
) -> tuple[int, int]:
    """What `--align` asks for: the steps of heads and of units.

    Args:
        text: The option.
        target, precision: For `target`.
        config: Hugging Face configuration of the super-network, for `target` and `measured`.
        setting, table: Where sweeps were measured, for `measured`.
        subject: What `hwnas profile` is given to measure them.

    Raises:
        UsageError: None of the values that there are, or no sweeps were measured.
    """
    from hwnas.models import get_family
    from hwnas.spaces import parse_align
    from hwnas.targets import get_target

    measured = _measured(config, setting, table, subject) if text == MEASURED and setting is not None else None
    head_size = 1 if config is None else get_family(config).dimensions(config).head_size
    return parse_align(text, target=get_target(target), precision=precision, head_size=head_size, steps=measured)


def _measured(config: Any, setting: Setting, table: str | None, subject: str) -> tuple[int, int]:
    from hwnas.latency.steps import load_steps
    from hwnas.latency.table import LatencyTable, default_table_path

    try:
        with LatencyTable(table or default_table_path()) as rows:
            return load_steps(config, setting, rows)
    except TableError as error:
        said = error.of(subject, table) if isinstance(error, MissingProfileError) else error
        raise UsageError(f"--align measured: no steps have been measured: {said}") from error
