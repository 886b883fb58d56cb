"""Locks of folders and files: by whom, how long, and what is left of an owner that died."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dlqsm.core.checks import InputError
from dlqsm.io import locks
from dlqsm.io.outputs import LOCK_NAME, output_files, output_folder

HOST = os.uname().nodename
BOOT = Path("/proc/sys/kernel/random/boot_id")


def taken(folder: Path) -> bool:
    """Whether the folder can be taken now."""
    with output_folder(folder, overwrite=True, produces=()):
        return True


def test_the_owner_is_named(tmp_path: Path) -> None:
    with output_folder(tmp_path, overwrite=True, produces=()):
        assert (tmp_path / LOCK_NAME).read_text().split()[:2] == [HOST, str(os.getpid())]
        with pytest.raises(InputError, match=rf"another dlqsm process \({HOST} {os.getpid()}\)"):
            taken(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00broken", b"one", b"no number here", b"\n"])
def test_a_lock_whose_owner_died_before_it_wrote_its_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / LOCK_NAME).write_bytes(content)
    assert taken(tmp_path)


@pytest.mark.skipif(not BOOT.is_file(), reason="Linux tells when it was started")
def test_a_number_of_a_process_that_was_given_again_keeps_nobody_out(tmp_path: Path) -> None:
    # The number is that of a process that lives: this one's parent, which is no owner of a lock.
    (tmp_path / LOCK_NAME).write_text(f"{HOST} {os.getppid()} {BOOT.read_text().strip()} 1")
    assert taken(tmp_path)


def test_a_container_that_is_gone_keeps_nobody_out(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).write_text(f"container17 1 {locks._boot()} 1")
    assert taken(tmp_path)


def test_a_machine_that_was_started_anew(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).write_text(f"{HOST} {os.getppid()} another-start 1")
    assert taken(tmp_path)


@pytest.mark.parametrize("owner", ["elsewhere 1", "elsewhere 1 another-start 17"])
def test_another_machine_is_believed_and_the_file_named(tmp_path: Path, owner: str) -> None:
    lock = tmp_path / LOCK_NAME
    lock.write_text(owner)
    with pytest.raises(InputError, match=f"elsewhere 1.*if it has ended, remove {lock}"):
        taken(tmp_path)
    assert lock.read_text() == owner


def test_a_disk_that_knows_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_lock_of_system", lambda file: False)
    with output_folder(tmp_path, overwrite=True, produces=()), pytest.raises(InputError, match=HOST):
        taken(tmp_path)
    own = f"{HOST} {os.getpid()} {locks._boot()}"
    (tmp_path / LOCK_NAME).write_text(f"{own} {int(locks._start_of(os.getpid())) + 1}")
    assert taken(tmp_path), "a process of the same number that was started later"


HOLDER = """
import sys
from pathlib import Path
from dlqsm.io.outputs import output_folder
with output_folder(Path(sys.argv[1]), overwrite=True, produces=()):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_killed_owner_lets_go_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None and owner.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"{HOST} {owner.pid}"):
            taken(tmp_path)
        owner.kill()
    assert (tmp_path / LOCK_NAME).is_file()
    assert taken(tmp_path)
    assert not (tmp_path / LOCK_NAME).exists()


def test_results_that_came_while_the_lock_was_waited_for_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = locks._taken

    def late(*given: Path) -> object:
        (tmp_path / "result").write_text("of another process")
        return plain(*given)

    monkeypatch.setattr(locks, "_taken", late)
    with (
        pytest.raises(InputError, match="already holds result"),
        output_folder(tmp_path, overwrite=False, produces=("result",)),
    ):
        pass


def test_two_files_of_one_folder_are_written_at_once_and_one_file_is_not(tmp_path: Path) -> None:
    with output_files(tmp_path / "a.tsv", overwrite=False):
        with output_files(tmp_path / "b.tsv", overwrite=False):
            pass
        with (
            pytest.raises(InputError, match=r"a\.tsv: another dlqsm process"),
            output_files(tmp_path / "a.tsv", overwrite=False),
        ):
            pass
    assert not list(tmp_path.iterdir())
