"""How long a training took that may have been stopped and begun again."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from pathlib import Path


class Clock:
    """Seconds of a training that may have been cut short: each step is noted with the time that had been needed.

    What a killed process did after its last checkpoint is done again, and counts once.

    Args:
        path: File of the notes.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._start = path, time.perf_counter()
        self._before: float | None = None
        self._notes: dict[int, float] = {}
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError):  # a line that was cut short
                    step, seconds = line.split()
                    self._notes[int(step)] = float(seconds)

    def tick(self, step: int) -> None:
        """A step has been made."""
        begins = self._before is None
        if self._before is None:
            self._before = self._notes.get(step - 1, 0.0)
        self._notes[step] = self._before + time.perf_counter() - self._start
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write("\n" * begins + f"{step} {self._notes[step]:.3f}\n")  # the last line may have been cut short

    def seconds(self, step: int) -> float:
        """What all steps up to this one have taken, loading and checkpoints included; NaN if it was not made."""
        return self._notes.get(step, math.nan)
