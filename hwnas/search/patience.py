"""How many failures in a row end a search, and which errors are no failure of a sub-network."""

from __future__ import annotations

import traceback

from hwnas.errors import RunFolderError

PATIENCE = 10
"""Failures in a row after which it is not the sub-networks that are to blame."""

PATIENCE_AT_FIRST = 3
"""The same while nothing has been evaluated."""

NO_FAILURE = (OSError, RunFolderError)
"""Errors that are the disk's fault, not the sub-network's: they end a search at once."""


def without_locals(error: Exception) -> Exception:
    """An error that can be kept: its frames no longer hold the network that was trained, and its optimiser."""
    link: BaseException | None = error
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__
    return error
