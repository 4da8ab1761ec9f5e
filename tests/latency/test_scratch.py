"""Exported networks outlive a process that is cut short, and only then."""

from pathlib import Path

import pytest

from hwnas.latency.networks import Network
from hwnas.latency.scratch import exported, network_path, peak_memory, scratch_folder


def test_a_folder_stays_only_if_its_work_is_cut_short(tmp_path):
    table = tmp_path / "t.sqlite"

    def cut_short() -> None:
        with scratch_folder(table, "a") as folder:
            (folder / "x").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_short()
    with scratch_folder(table, "b") as other:
        assert list(other.iterdir()) == []
    assert not other.exists()
    with scratch_folder(table, "a") as again:
        assert (again / "x").exists()
    assert list(tmp_path.iterdir()) == []
    with scratch_folder(None, "a") as temporary:
        assert temporary.parent != tmp_path
    assert not temporary.exists()


def test_two_that_do_the_same_work_at_a_time_have_a_folder_each(tmp_path):
    """Neither removes the other's networks, and what a killed one leaves is taken up or removed."""
    table = tmp_path / "t[1].sqlite"
    with scratch_folder(table, "a") as first:
        (first / "x").touch()
        with scratch_folder(table, "a") as second, scratch_folder(table, "a") as third:
            assert len({first, second, third}) == 3
            (second / "x").touch()
        assert sorted(tmp_path.iterdir()) == [first]
        with pytest.raises(KeyboardInterrupt), scratch_folder(table, "a") as second:
            raise KeyboardInterrupt
        assert sorted(path.name for path in first.iterdir()) == ["x"]
        assert sorted(tmp_path.iterdir()) == [first]
        killed = first.with_name(f"{first.name}-7")
        killed.mkdir()
        (killed / "x").touch()
    assert list(tmp_path.iterdir()) == []


def test_a_network_is_exported_once_and_never_half(tmp_path):
    calls = []

    def export(place: Path) -> Network:
        calls.append(place)
        place.write_bytes(b"half")
        if len(calls) == 1:
            raise KeyboardInterrupt
        return Network(place, 12, traced=True, file_bytes=4)

    path = network_path(tmp_path, "some network")
    assert network_path(tmp_path, "another") != path
    with pytest.raises(KeyboardInterrupt):
        exported(path, export)
    assert not path.exists()
    assert exported(path, export) == exported(path, export) == Network(path, 12, traced=True, file_bytes=4)
    assert len(calls) == 2


def test_memory_is_measured_once_unless_it_failed(tmp_path):
    answers = iter(["refused", 4096, 1])
    path = tmp_path / "n.onnx"
    assert peak_memory(path, lambda: next(answers)) == "refused"
    assert peak_memory(path, lambda: next(answers)) == 4096
    assert peak_memory(path, lambda: next(answers)) == 4096
