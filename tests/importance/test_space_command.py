"""Which model `hwnas space` takes: that of RUN, else --model, else that of the task's default run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hwnas.errors import UsageError
from hwnas.pipeline import profile
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.spec import DataSpec, RunSpec


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--model", "named", "--budgets", "3", "--cost", "macs"], "named"),
        (["--model", "named", "--latency"], "named"),
        (["--budgets", "3", "--cost", "macs"], "of-the-run"),
        ([], "of-the-run"),
        (["runs/docstrings", "--model", "named", "--latency"], "of-the-run"),
    ],
)
def test_the_model_of_hwnas_space(
    call: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    expected: str,
) -> None:
    def told(folder: RunFolder, *, required: bool, model: str | None, **_: Any) -> None:
        raise UsageError(f"the model {folder.spec().model if folder.exists() or required else model}")

    monkeypatch.setattr(profile, "config_of", told)
    monkeypatch.chdir(tmp_path)
    RunFolder(Path("runs/docstrings")).begin(RunSpec(model="of-the-run", data=DataSpec(task="docstrings")), "data")
    code, _, err = call("space", *words)
    assert (code, err.count("\n")) == (2, 1)
    assert f"the model {expected}" in err
