"""Devices to build for: one TOML file of datasheet facts each, and finding out which of them this machine is.

    target.py     Target (a device by its facts) and Device (what is in this machine)
    loading.py    reads and checks the TOML files
    detection.py  finds this machine's devices and says which targets they are

A new target is one TOML file in this folder; nothing else changes.
"""

from __future__ import annotations

from hwnas.targets.detection import (
    Detection,
    detect,
    detect_devices,
    fingerprint,
    is_device,
    match_target,
    require_device,
)
from hwnas.targets.loading import get_target, load_targets, target_names
from hwnas.targets.target import PEAK_TYPES, Device, Target

__all__ = [
    "PEAK_TYPES",
    "Detection",
    "Device",
    "Target",
    "detect",
    "detect_devices",
    "fingerprint",
    "get_target",
    "is_device",
    "load_targets",
    "match_target",
    "require_device",
    "target_names",
]
