"""Which devices of a search are within reach, and the settings that their latencies are of.

A device in this machine is measured. Of another one the latency table may hold a profile that was measured there and
imported here: it predicts. Without one the device's facts are left to estimate from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import hwnas
from hwnas.errors import RunFolderError, TableError, UsageError
from hwnas.latency.keys import model_key
from hwnas.latency.records import Setting
from hwnas.latency.setting import make_setting
from hwnas.latency.table import LatencyTable
from hwnas.pipeline.folder import RunFolder
from hwnas.profilers import TimingProtocol, get_profiler
from hwnas.targets import detect_devices, fingerprint, get_target, is_device, require_device

ESTIMATE = "estimate"
"""In place of the name of a runtime: nothing runs, latencies are estimated."""

MEASURED, PREDICTED, ESTIMATED = "measured", "predicted", "estimated"

FLOATS = ("fp32", "fp16", "bf16")
"""Precisions in which a network is judged by its float32 view."""

_RUNTIME = "onnxruntime"


@dataclass(frozen=True)
class Request:
    """A device as a user asks for it.

    Attributes:
        target: Name of a target. `NAME@TEXT` means the device of that target in the latency table whose fingerprint
            holds TEXT, which need not be here.
        precisions: Precisions to search, the unpruned network's first.
        runtime: Name of the runtime; None for onnxruntime here, and whatever it was profiled with elsewhere.
    """

    target: str
    precisions: tuple[str, ...] = ("fp32",)
    runtime: str | None = None

    @property
    def name(self) -> str:
        """Name of the target."""
        return self.target.partition("@")[0]

    @property
    def text(self) -> str:
        """What the fingerprint holds; empty if it was not said."""
        return self.target.partition("@")[2]


@dataclass(frozen=True)
class Shape:
    """What all devices of a search run: batch, tokens and processor threads, and how it is timed here."""

    batch: int = 1
    sequence_length: int = 128
    threads: int = 1
    protocol: TimingProtocol | None = None


def reach(setting: Setting) -> str:
    """What latencies in a setting are here: `MEASURED`, `PREDICTED` by a profile from elsewhere, or `ESTIMATED`."""
    if setting.runtime == ESTIMATE:
        return ESTIMATED
    target = get_target(setting.target)
    here = any(is_device(target, device) and fingerprint(device) == setting.fingerprint for device in detect_devices())
    return MEASURED if here else PREDICTED


def estimate_setting(target: str, precision: str, batch: int, sequence_length: int) -> Setting:
    """The setting of a search for a device that is out of reach; nothing is ever measured in it.

    Raises:
        UnknownTargetError: No such target.
        UsageError: A precision whose errors could only be found by running the network on the device.
    """
    if precision not in FLOATS:
        raise _out_of_reach(f"--estimate with --precision {precision}")
    return Setting(
        target=get_target(target).name,
        fingerprint="not seen",
        runtime=ESTIMATE,
        runtime_version=hwnas.__version__,
        precision=precision,
        batch=batch,
        sequence_length=sequence_length,
        threads=1,
        protocol="none",
    )


def find_settings(
    requests: Sequence[Request],
    shape: Shape,
    folder: RunFolder,
    table: LatencyTable | None,
    *,
    estimate: bool = False,
) -> list[list[Setting]]:
    """Settings of each device of a search, one a precision.

    A device in this machine gets a setting to measure in. Another one gets that of its newest profile in the table, or
    with `estimate` one to estimate in. A single device is estimated with `estimate` wherever it is.

    Args:
        requests: The devices.
        shape: What they run.
        folder: The run, whose super-network the profiles are of.
        table: The latency table. Without one everything is checked that needs none, and devices whose profile would
            be looked up have no settings.
        estimate: Whether devices out of reach may be estimated.

    Raises:
        UnknownTargetError, UnknownNameError, ProfilerError, MissingExtraError, UsageError: See `make_setting`.
        DeviceNotFoundError: A device is not here, was not profiled, and is not to be estimated.
        TableError: The table holds no profile of a device that is named by its fingerprint.
    """
    for request in requests:
        get_target(request.name)
    found = []
    for request in requests:
        if estimate and len(requests) == 1 and not request.text:
            found.append([_estimated(request, precision, shape) for precision in request.precisions])
        elif not request.text and _is_here(request.name):
            found.append([_here(request, precision, shape) for precision in request.precisions])
        else:
            found.append(_elsewhere(request, shape, folder, table, estimate))
    return found


def check_together(settings: Sequence[Setting]) -> dict[str, Setting]:
    """Settings of one device by precision, the first one first.

    Raises:
        UsageError: They differ in more than their precision, or the device is out of reach and cannot have them.
    """
    by_precision = {entry.precision: entry for entry in settings}
    first = settings[0]
    if len(by_precision) < len(settings) or any(
        replace(entry, precision=first.precision) != first for entry in settings
    ):
        raise UsageError("several settings of one search must differ in their precision, and in nothing else.")
    if first.runtime == ESTIMATE and len(settings) > 1:
        raise UsageError("--estimate: expected one --precision.")
    if reach(first) == PREDICTED:
        for precision in by_precision:
            if precision not in FLOATS:
                raise _out_of_reach(f"--target {first.target} with --precision {precision}")
    return by_precision


def _is_here(name: str) -> bool:
    target = get_target(name)
    return any(is_device(target, device) for device in detect_devices())


def _here(request: Request, precision: str, shape: Shape) -> Setting:
    return make_setting(
        request.name, request.runtime or _RUNTIME, precision, shape.batch, shape.sequence_length, shape.threads,
        protocol=shape.protocol,
    )  # fmt: skip


def _estimated(request: Request, precision: str, shape: Shape) -> Setting:
    return estimate_setting(request.name, precision, shape.batch, shape.sequence_length)


def _elsewhere(
    request: Request, shape: Shape, folder: RunFolder, table: LatencyTable | None, estimate: bool
) -> list[Setting]:
    """Settings of a device that is not here."""
    if request.runtime is not None:
        get_profiler(request.runtime)  # UnknownNameError
    if table is None:
        if not estimate and not folder.exists():
            require_device(get_target(request.name))
        return []
    model = model_key(config_of_run(folder))
    profiled = [_profiled(request, precision, shape, table, model) for precision in request.precisions]
    settings = [setting for setting in profiled if setting is not None]
    if len(settings) == len(profiled):
        return settings
    missing = next(name for name, setting in zip(request.precisions, profiled, strict=True) if setting is None)
    if request.text:
        asked = _asked(request, missing, shape)
        raise TableError(
            f"{table.name} holds no profile of this model on a {request.name} whose fingerprint holds "
            f"{request.text!r} ({asked}); `hwnas table ls` lists what it holds, `hwnas table import` brings more."
        )
    if not estimate and settings:
        there = " and ".join(setting.precision for setting in settings)
        raise TableError(
            f"{table.name} holds a profile of this model on {request.name} in {there}, but none for "
            f"{_asked(request, missing, shape)}; "
            f"`hwnas profile {folder.path} --target {request.name} --precision {missing}` on that device makes one, "
            "`hwnas table import` brings it here."
        )
    if not estimate:
        require_device(get_target(request.name))
    return [_estimated(request, precision, shape) for precision in request.precisions]


def _profiled(request: Request, precision: str, shape: Shape, table: LatencyTable, model: str) -> Setting | None:
    """The setting of the newest profile of a device that is not here; None if there is none."""
    fits = []
    for setting in table.settings():
        asked = (request.name, precision, shape.batch, shape.sequence_length)
        if (setting.target, setting.precision, setting.batch, setting.sequence_length) != asked:
            continue
        if request.runtime not in (None, setting.runtime) or request.text.lower() not in setting.fingerprint.lower():
            continue
        if get_target(setting.target).kind == "cpu" and setting.threads != shape.threads:
            continue
        fit = table.latest_fit(setting, model)
        if fit is not None:
            fits.append((fit.date, setting))
    runtimes = sorted({setting.runtime for _, setting in fits})
    if len(runtimes) > 1:
        raise UsageError(
            f"{table.name} holds profiles of {request.target} with {', '.join(runtimes)}; choose one of them with "
            f"--runtime {request.target}={runtimes[0]}."
        )
    return max(fits, key=lambda pair: pair[0])[1] if fits else None


def _asked(request: Request, precision: str, shape: Shape) -> str:
    runtime = f"{request.runtime} " if request.runtime else ""
    return f"{runtime}{precision}, batch {shape.batch}, {shape.sequence_length} tokens"


def config_of_run(folder: RunFolder) -> Any:
    """The configuration of a run's super-network; its weights are not read. RunFolderError if it is not trained yet."""
    from transformers import AutoConfig

    folder.spec()
    if not folder.supernet.is_dir():
        raise RunFolderError(f"{folder.path} has no trained super-network yet; `hwnas train {folder.path}` trains it.")
    return AutoConfig.from_pretrained(folder.supernet)


def _out_of_reach(what: str) -> UsageError:
    return UsageError(
        f"{what}: the error of such a network is found by running it on the device; expected one of "
        f"{', '.join(FLOATS)}."
    )
