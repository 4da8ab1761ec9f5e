"""Shared by all tests: real parts only, no network, the raw folders of the repository kept off `sys.path`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ROOT = Path(__file__).resolve().parent.parent
# `python -m pytest` puts the repository root on sys.path; its folder `kernels/` would then shadow a module that
# transformers imports.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
