"""Reads the TOML files of this folder. A file with a doubtful line is refused: a wrong fact is worse than none."""

from __future__ import annotations

import difflib
import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hwnas.errors import DataError, UnknownTargetError
from hwnas.targets.target import PEAK_TYPES, Target

_FOLDER = Path(__file__).resolve().parent
_KEYS = tuple(item.name for item in fields(Target))
_REQUIRED = ("name", "aliases", "vendor", "kind", "source")
_VENDORS = ("any", "nvidia")
_KINDS = ("cpu", "gpu")
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def load_targets(folder: Path | None = None) -> dict[str, Target]:
    """All targets by name, in the order of their names.

    Args:
        folder: Folder of TOML files; None takes the ones that come with hwnas.

    Raises:
        DataError: A file that is no TOML, has an unknown, missing or impossible entry, or shares an alias with another.
    """
    return dict(_shipped() if folder is None else _load(folder))


def target_names() -> tuple[str, ...]:
    """Names of the targets that come with hwnas, sorted."""
    return tuple(_shipped())


def get_target(name: str) -> Target:
    """The target of that name; UnknownTargetError lists the known ones."""
    targets = _shipped()
    if name not in targets:
        raise UnknownTargetError(name, targets)
    return targets[name]


def normalise(alias: str) -> str:
    """A device name in the form in which names are compared.

    Case and spacing do not count, nor does a leading "NVIDIA", which drivers before 465 did not print.
    """
    return " ".join(alias.split()).casefold().removeprefix("nvidia ")


@functools.cache
def _shipped() -> Mapping[str, Target]:
    return MappingProxyType(_load(_FOLDER))


def _load(folder: Path) -> dict[str, Target]:
    targets: dict[str, Target] = {}
    owners: dict[str, str] = {}
    for path in sorted(folder.glob("*.toml")):
        target = _read(path)
        for alias in target.aliases:
            owner = owners.setdefault(normalise(alias), target.name)
            if owner != target.name:
                raise DataError(
                    f"target file {path.name}: alias {alias!r} is the target {owner} already; a device is one target."
                )
        targets[target.name] = target
    return targets


def _read(path: Path) -> Target:
    """One file, checked."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise DataError(f"target file {path.name} cannot be read: {error}; expected a TOML file.") from error
    try:
        return _check(data, path.stem)
    except ValueError as error:
        raise DataError(f"target file {path.name}: {error}.") from error


def _check(data: dict[str, Any], stem: str) -> Target:
    """The target that a file's content describes; ValueError says what is wrong with it."""
    for key in data:
        if key not in _KEYS:
            raise ValueError(f"unknown key {key!r}{_hint(key, _KEYS)}; expected some of {', '.join(_KEYS)}")
    for key in _REQUIRED:
        if key not in data:
            raise ValueError(f"{key!r} is missing; required are {', '.join(_REQUIRED)}")
    name, kind = _text(data, "name"), _choice(data, "kind", _KINDS)
    if name != stem or not _NAME.fullmatch(name):
        raise ValueError(f"name {name!r}; expected the file's own name, of a-z, 0-9 and single hyphens")
    aliases = data["aliases"]
    if not isinstance(aliases, list) or not all(isinstance(item, str) and item.strip() for item in aliases):
        raise ValueError(f"aliases {aliases!r}; expected a list of names as NVML prints them")
    if len({normalise(item) for item in aliases}) != len(aliases):
        raise ValueError(f"aliases {aliases!r}; one of them is there twice (case and a leading NVIDIA do not count)")
    capability = data.get("compute_capability")
    if kind == "gpu" and (not aliases or capability is None):
        raise ValueError("a GPU needs at least one alias and a compute_capability")
    if kind == "cpu" and (aliases or capability is not None or "sms" in data):
        raise ValueError("the kind cpu takes no aliases, compute_capability or sms")
    return Target(
        name=name,
        aliases=tuple(aliases),
        vendor=_choice(data, "vendor", _VENDORS),
        kind=kind,
        compute_capability=_capability(capability),
        sms=_whole(data, "sms"),
        memory_gib=_positive(data, "memory_gib"),
        bandwidth_gb_s=_positive(data, "bandwidth_gb_s"),
        peak_tflops=_peaks(data.get("peak_tflops", {})),
        tdp_w=_positive(data, "tdp_w"),
        ray_accelerator=_text(data, "ray_accelerator") if "ray_accelerator" in data else None,
        source=_text(data, "source"),
    )


def _hint(word: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f", did you mean {close[0]!r}" if close else ""


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data[key]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key} {value!r}; expected a text")
    return value


def _choice(data: Mapping[str, Any], key: str, known: tuple[str, ...]) -> str:
    value = _text(data, key)
    if value not in known:
        raise ValueError(f"{key} {value!r}; expected one of {', '.join(known)}")
    return value


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ValueError(f"{what} {value!r}; expected a positive number, or no such line if the datasheet does not say")
    return float(value)


def _positive(data: Mapping[str, Any], key: str) -> float | None:
    return _number(data[key], key) if key in data else None


def _whole(data: Mapping[str, Any], key: str) -> int | None:
    if key not in data:
        return None
    value = _number(data[key], key)
    if not isinstance(data[key], int):
        raise ValueError(f"{key} {value}; expected a whole number")
    return int(value)


def _capability(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2 or any(type(item) is not int or item < 0 for item in value):
        raise ValueError(f"compute_capability {value!r}; expected [major, minor]")
    return value[0], value[1]


def _peaks(value: Any) -> Mapping[str, float]:
    if not isinstance(value, dict):
        raise ValueError(f"peak_tflops {value!r}; expected a table of rates by type")
    for key in value:
        if key not in PEAK_TYPES:
            raise ValueError(f"unknown type {key!r} in peak_tflops; expected some of {', '.join(PEAK_TYPES)}")
    return MappingProxyType({key: _number(value[key], f"peak_tflops.{key}") for key in PEAK_TYPES if key in value})
