"""Memory that there is: of the machine, and within the limits of control groups of both versions."""

from pathlib import Path

import psutil
import pytest

from dlqsm.io import memory

MIB = 2**20


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty tree of control groups, and a process in none."""
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_OWN_GROUPS", tmp_path / "own")
    return tmp_path


def _write(folder: Path, **content: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in content.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def test_without_limits_the_machine_is_what_there_is(groups: Path) -> None:
    assert 0 < memory.free_bytes() <= psutil.virtual_memory().total
    assert memory.total_bytes() >= psutil.virtual_memory().total


def test_the_tightest_group_above_counts_and_files_that_can_be_dropped_are_free(groups: Path) -> None:
    (groups / "own").write_text("0::/user/job\n")
    stat = f"anon 1\ninactive_file {10 * MIB}"
    _write(groups / "cgroup/user", memory__max=64 * MIB, memory__current=40 * MIB, memory__stat=stat)
    _write(groups / "cgroup/user/job", memory__max="max", memory__current=30 * MIB)
    assert memory.free_bytes() == (64 - 40 + 10) * MIB
    assert memory.total_bytes() == 64 * MIB


def test_groups_of_the_first_version(groups: Path) -> None:
    (groups / "own").write_text("5:cpu:/elsewhere\n4:memory:/job\n0::/\n")
    _write(groups / "cgroup/memory/job", memory__limit_in_bytes=50 * MIB, memory__usage_in_bytes=20 * MIB)
    assert memory.free_bytes() == 30 * MIB


def test_a_group_that_holds_more_than_its_limit_leaves_nothing(groups: Path) -> None:
    (groups / "own").write_text("0::/job\n")
    _write(groups / "cgroup/job", memory__max=5 * MIB, memory__current=6 * MIB)
    assert memory.free_bytes() == 0


def test_the_peak_is_that_of_this_process() -> None:
    held = bytearray(64 * MIB)
    assert memory.peak_memory_mb() > len(held) / MIB
