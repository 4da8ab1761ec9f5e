"""Wrong input: one clear line on standard error, exit code 2, no traceback, nothing half-written."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from hwnas.cli.app import main

Refused = Callable[..., str]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs `hwnas ...`, which must be refused; gives its one line."""

    def run(*words: Any) -> str:
        monkeypatch.setattr(sys, "argv", ["hwnas", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        lines = [line for line in captured.err.splitlines() if line and not line.startswith(("tokenise", "train "))]
        assert end.value.code == 2, captured.err
        assert captured.out == ""
        assert len(lines) == 1, captured.err
        assert lines[0].startswith("error: ")
        return lines[0]

    return run


@pytest.mark.parametrize("command", ["profile", "search", "build"])
def test_unknown_target(refused: Refused, tmp_path: Path, command: str) -> None:
    line = refused(command, tmp_path / "run", "--target", "a10h")
    assert "unknown target 'a10h'; did you mean 'a10g'?" in line
    assert "l40s" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("search", "--evaluations", "many"), "'--evaluations'"),
        (("search", "--evaluations", "2"), "greater than or equal to 3"),
        (("search", "--evaluation", "9"), "No such option: --evaluation"),
        (("serach",), "No such command 'serach'"),
        (("bench", "run"), "Missing argument 'FIGURE'"),
        (("compare", "one", "two", "three"), "unexpected extra argument"),
    ],
)
def test_what_typer_refuses_is_one_line_too(refused: Refused, words: tuple[str, ...], said: str) -> None:
    line = refused(*words)
    assert said in line
    assert line.endswith(" --help`.")


def test_a_target_that_is_not_here(refused: Refused, tmp_path: Path) -> None:
    line = refused("profile", "--target", "v100", "--table", tmp_path / "t.sqlite")
    assert "v100" in line
    assert "found the" in line
    assert "hree ways out" in line
    assert list(tmp_path.iterdir()) == []


def test_a_space_that_is_too_large_is_refused_before_the_training(refused: Refused, tmp_path: Path) -> None:
    line = refused("run", tmp_path / "run", "--task", "docstrings", "--searcher", "exhaustive", "--evaluations", 100)
    assert "the space small, which holds 110,592 networks, more than the 100 evaluations" in line
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_while_a_training_is_kept(
    refused: Refused, training: list[str], tmp_path: Path, full_after: Callable[[int], AbstractContextManager[None]]
) -> None:
    with full_after(20_000):  # no file of weights may be so long
        line = refused("train", tmp_path / "run", *training, "--max-steps", 2)
    assert f"cannot write to {tmp_path / 'run'}" in line


def test_options_of_a_file_that_is_not_given(refused: Refused, tmp_path: Path, tiny_csv: Path) -> None:
    assert "--text needs --train-file" in refused("train", tmp_path / "run", "--text", "review")
    assert "--kind needs --train-file" in refused("run", tmp_path / "run", "--kind", "regression")
    words = ["--train-file", tiny_csv, "--data-dir", tmp_path]
    assert "--data-dir has the data of GLUE tasks" in refused("train", tmp_path / "run", *words)
    assert list(tmp_path.iterdir()) == []


def test_one_of_several_runs_has_to_be_named(refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "runs/docstrings is no run folder" in refused("search")
    for name in ("sst2", "rte"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").write_text("{}")
        said = "runs/sst2/run.json is damaged" if name == "sst2" else "there are 2 runs: runs/rte, runs/sst2; say which"
        assert said in refused("build", "--max-latency", 5)


def test_ctrl_c_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hwnas.cli.search.begun_run", interrupt)
    monkeypatch.setattr(sys, "argv", ["hwnas", "search", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130
    assert capsys.readouterr().err == "interrupted: run the same command again to go on from here.\n"


def test_unknown_task(refused: Refused, tmp_path: Path) -> None:
    line = refused("train", tmp_path / "run", "--task", "sst3")
    assert "unknown task 'sst3'; did you mean 'sst2'?" in line
    assert not (tmp_path / "run").exists()


def test_a_missing_column(refused: Refused, tmp_path: Path, tiny_csv: Path, tiny_folder: Path) -> None:
    line = refused("train", tmp_path / "run", "--model", tiny_folder, "--train-file", tiny_csv, "--text", "review")
    assert "review" in line
    assert "text, label" in line or ("text" in line and "label" in line)
    assert not (tmp_path / "run").exists()


def test_a_label_outside_the_set(refused: Refused, tmp_path: Path, tiny_csv: Path, tiny_folder: Path) -> None:
    line = refused(
        "train", tmp_path / "run", "--model", tiny_folder, "--train-file", tiny_csv, "--labels", "praise,scorn"
    )
    assert "'blame'" in line
    assert "praise" in line
    assert not (tmp_path / "run").exists()


def test_a_family_without_an_adapter(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps({"model_type": "albert", "vocab_size": 50}))
    line = refused("train", tmp_path / "run", "--model", tmp_path / "model")
    assert "'albert' have no adapter (all its layers share one set of weights" in line
    assert "there are adapters for bert, distilbert" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--space", "huge"], "large, layer, medium, small"),
        (["--max-length", "1000"], "expected 8 to 40 tokens"),
        (["--max-length", "16", "--teacher", "nowhere"], "cannot load the teacher 'nowhere'"),
        (["--max-length", "16", "--reorder", "luck"], "unknown importance score 'luck'"),
    ],
)
def test_a_training_that_cannot_be_leaves_nothing(
    refused: Refused, tmp_path: Path, tiny_csv: Path, tiny_folder: Path, words: list[str], said: str
) -> None:
    assert said in refused("train", tmp_path / "run", "--model", tiny_folder, "--train-file", tiny_csv, *words)
    assert not (tmp_path / "run").exists()


def test_a_teacher_with_other_labels(
    refused: Refused,
    tmp_path: Path,
    tiny: Callable[..., Any],
    tiny_csv: Path,
    tiny_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tiny("bert", num_labels=3).save_pretrained(tmp_path / "teacher")
    capsys.readouterr()  # what transformers shows of the writing
    words = ["--model", tiny_folder, "--train-file", tiny_csv, "--max-length", 16, "--teacher", tmp_path / "teacher"]
    line = refused("train", tmp_path / "run", *words)
    assert "teacher has the labels LABEL_0, LABEL_1, LABEL_2, but the task has blame, praise" in line
    assert not (tmp_path / "run").exists()


def test_an_empty_space(refused: Refused, tmp_path: Path, tiny_csv: Path, tiny_folder: Path) -> None:
    space = {"name": "bounded", "min_layers": 1, "align": [1, 1], "heads": [[3, 2]] * 3, "units": [[0, 4]] * 3}
    (tmp_path / "bounds.json").write_text(json.dumps(space))
    words = ["--model", tiny_folder, "--train-file", tiny_csv, "--bounds", tmp_path / "bounds.json"]
    assert "an empty space: the bounds of heads in layer 0 are 3 to 2" in refused("train", tmp_path / "run", *words)
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number(refused: Refused, tmp_path: Path, tiny_csv: Path, tiny_folder: Path) -> None:
    words = ["--model", tiny_folder, "--train-file", tiny_csv, "--max-length", 16, "--max-steps", 30]
    line = refused("train", tmp_path / "run", *words, "--learning-rate", "1e30")
    assert "the loss of training step 3 is nan; train in a new run folder with a lower --learning-rate" in line
    assert line.rstrip().endswith("(now 1e+30)."), "there is no checkpoint that could be kept"
    assert not (tmp_path / "run" / "supernet").exists()


def test_no_such_model(refused: Refused, tmp_path: Path) -> None:
    line = refused("train", tmp_path / "run", "--model", tmp_path / "nowhere")
    assert "does not exist" in line
    assert not (tmp_path / "run").exists()


def test_a_run_folder_that_cannot_be_written(
    refused: Refused, tmp_path: Path, tiny_csv: Path, tiny_folder: Path
) -> None:
    """A file stands where the folder should be: root may write into any folder, whatever its mode."""
    (tmp_path / "file").write_text("")
    line = refused("train", tmp_path / "file" / "run", "--model", tiny_folder, "--train-file", tiny_csv)
    assert "cannot write to" in line
    assert (tmp_path / "file").read_text() == ""


def test_a_read_only_run_folder(refused: Refused, tmp_path: Path, tiny_csv: Path, tiny_folder: Path) -> None:
    """What the system says of a read-only file system, which it says to root as well."""
    folder = Path("/proc/self")
    line = refused("train", folder / "run", "--model", tiny_folder, "--train-file", tiny_csv)
    assert "cannot write to" in line
    assert "run folder" in line


def test_a_folder_with_something_else(refused: Refused, tmp_path: Path, tiny_csv: Path, tiny_folder: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    line = refused("train", tmp_path, "--model", tiny_folder, "--train-file", tiny_csv)
    assert "holds something else" in line


def test_a_corrupt_table(refused: Refused, tmp_path: Path) -> None:
    table = tmp_path / "t.sqlite"
    table.write_bytes(b"SQLite format 3\x00" + b"\xff" * 5000)
    line = refused("profile", "--table", table)
    assert "t.sqlite" in line
    assert table.read_bytes() == b"SQLite format 3\x00" + b"\xff" * 5000


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path, tiny_csv: Path) -> Path:
    """A run whose super-network is trained."""
    from hwnas.pipeline.folder import RunFolder
    from hwnas.pipeline.spec import DataSpec, RunSpec
    from hwnas.pipeline.train import train_run
    from hwnas.training.train import TrainOptions

    folder = tmp_path_factory.mktemp("runs") / "run"
    data = DataSpec(task="reviews", train_file=str(tiny_csv))
    train = TrainOptions(max_steps=2, batch_size=8)
    train_run(RunFolder(folder), RunSpec(model=str(tiny_folder), data=data, max_length=16, train=train))
    return folder


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A copy of that run, to be damaged."""
    return Path(shutil.copytree(run, tmp_path / "copy"))


def test_a_corrupt_super_network(refused: Refused, copy: Path, tmp_path: Path) -> None:
    file = copy / "supernet" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    line = refused("search", copy, "--objective", "parameters", "--table", tmp_path / "t.sqlite")
    assert "supernet is damaged" in line
    assert "train again" in line


def test_a_corrupt_run_file(refused: Refused, copy: Path, tmp_path: Path) -> None:
    (copy / "run.json").write_text('{"schema": 1, "spec": {}}')
    assert "run.json is damaged" in refused("search", copy, "--table", tmp_path / "t.sqlite")


def test_other_options_for_the_same_folder(refused: Refused, run: Path, tiny_csv: Path, tiny_folder: Path) -> None:
    words = ["train", run, "--model", tiny_folder, "--train-file", tiny_csv, "--max-length", 16, "--max-steps", 2]
    line = refused(*words, "--batch-size", 4)
    assert "batch-size 8, not 4" in line


def test_data_that_have_changed(refused: Refused, copy: Path, tmp_path: Path, tiny_csv: Path) -> None:
    shutil.copy(tiny_csv, tmp_path / "reviews.csv")
    spec = json.loads((copy / "run.json").read_text())
    spec["spec"]["data"]["train_file"] = str(tmp_path / "reviews.csv")
    (copy / "run.json").write_text(json.dumps(spec))
    with (tmp_path / "reviews.csv").open("a") as file:
        file.write("one more,praise\n")
    line = refused("search", copy, "--objective", "parameters", "--seq-len", 16, "--table", tmp_path / "t.sqlite")
    assert "have changed" in line


def test_a_search_without_a_profile(refused: Refused, run: Path, tmp_path: Path) -> None:
    """The command that the line names profiles this run, into this table."""
    line = refused("search", run, "--seq-len", 16, "--table", tmp_path / "t.sqlite")
    assert f"run `hwnas profile {run} --target cpu " in line
    assert line.endswith(f" --table {tmp_path / 't.sqlite'}` first.")


def test_a_search_of_more_tokens_than_positions(refused: Refused, copy: Path, tmp_path: Path) -> None:
    """Before anything is evaluated."""
    line = refused("search", copy, "--objective", "parameters", "--table", tmp_path / "t.sqlite")
    assert "sequences of 128 tokens, but the model has positions for 40" in line
    assert not (copy / "search").exists()


@pytest.mark.parametrize(
    ("option", "values"), [("--max-parameters", ("5k", "6k")), ("--max-error-increase", ("1%", "2%"))]
)
def test_a_limit_given_twice(
    refused: Refused, copy: Path, tmp_path: Path, option: str, values: tuple[str, str]
) -> None:
    words = [word for value in values for word in (option, value)]
    line = refused("search", copy, "--objective", "parameters", "--seq-len", 16, "--table", tmp_path / "t", *words)
    assert option in line
    assert "expected one limit" in line
    assert not (copy / "search").exists()


def test_the_method_of_standard_nas_alone(refused: Refused, run: Path) -> None:
    line = refused("search", run, "--searcher", "mo_asha")
    assert "expected one of random_search, " in line
    assert "`hwnas bench run 5b --only mo_asha`" in line


def test_stations_out_of_order(refused: Refused, run: Path, tmp_path: Path) -> None:
    assert "hwnas train" in refused("search", tmp_path / "none", "--table", tmp_path / "t.sqlite")
    assert "hwnas train" in refused("profile", tmp_path / "none", "--table", tmp_path / "t.sqlite")
    line = refused("profile", tmp_path / "none", "--model", "roberta-base", "--table", tmp_path / "t.sqlite")
    assert "--model roberta-base: the model of" in line
    assert "hwnas search" in refused("build", run)


def test_a_front_of_another_super_network(refused: Refused, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that was left over from before the super-network was trained again; and one that is this one's."""
    from hwnas.latency.records import Estimated
    from hwnas.pipeline.folder import RunFolder
    from hwnas.pipeline.fronts import about_search
    from hwnas.pipeline.judge import Judge
    from hwnas.pipeline.search_options import SearchOptions
    from hwnas.pipeline.train import load_data, load_supernet
    from hwnas.search.front import Front, Member, write_front

    folder = RunFolder(copy)
    supernet, task = load_supernet(folder), load_data(folder)
    about = about_search(folder, supernet, task, Judge(supernet, task, 16, 8, 0), SearchOptions())
    assert about["weights"] == supernet.weights == folder.weights()
    setting = {"runtime": "estimate", "precision": "fp32", "batch": 1, "sequence_length": 16, "threads": 1}
    latency = Estimated(2e-3, 1e-3, 4e-3, "roofline")
    member = Member(supernet.space.smallest(), 0.25, 0.5, latency, None, 1000, 2e-3)

    def leave(target: str, weights: str) -> None:
        objective = {"name": "latency", "unit": "seconds", "provenance": "estimated"}
        here = {**about, "weights": weights, "objective": objective, "setting": {**setting, "target": target}}
        write_front(Front(here, member, (member,)), folder.front(target))

    leave("l4", about["weights"])
    leave("a10g", "0" * 64)
    capsys.readouterr()  # what loading said
    words = ["--front", "a10g", "--target", "cpu", "--precision", "fp32"]
    assert "the front of a10g in" in refused("build", copy, *words)
    assert not (copy / "build").exists()
    line = refused("compare", copy)
    assert "is of another super-network" in line
    assert f"`hwnas search {copy}`" in line
    leave("a10g", about["weights"])
    with pytest.raises(SystemExit) as end:
        main()  # the same words as before
    assert end.value.code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "h100"], "SM90"),
        (["--target", "t4", "--precision", "fp32"], "fp16"),
        (["--target", "t4", "--precision", "bf16"], "fp16"),
        (["--precision", "fp12"], "fp12"),
        (["--batch", "1,2"], "min,usual,max"),
    ],
)
def test_builds_that_cannot_be(refused: Refused, run: Path, words: list[str], said: str) -> None:
    assert said in refused("build", run, *words)
    assert not (run / "build").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--searcher", "guess"], "random_search"),
        (["search", "--searcher", "guess"], "random_search"),
        (["run", "--objective", "beauty"], "latency, memory, parameters"),
        (["run", "--build-target", "h200"], "SM90"),
        (["run", "--smoke", "--max-steps", "3"], "--smoke"),
        (["train", "--strategy", "fancy"], "full, kd, random, random-linear, sandwich, standard"),
        (["train", "--k", "-1"], "--k"),
        (["train", "--temperature", "0"], "--temperature"),
        (["train", "--test-file", "x.csv"], "--train-file"),
        (["profile", "--threads", "1000"], "threads 1000"),
        (["profile", "--precision", "int3"], "int3"),
        (["profile", "--runtime", "abacus"], "onnxruntime"),
        (["search", "--max-members", "2", "--target", "l4"], "l4"),
    ],
)
def test_options_that_cannot_be(refused: Refused, tmp_path: Path, words: list[str], said: str) -> None:
    assert said in refused(words[0], tmp_path / "run", *words[1:])
    assert not (tmp_path / "run").exists()
