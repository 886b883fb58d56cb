"""Results of several files that come together, whatever stops them on the way."""

import errno
import os
from pathlib import Path

import pytest

from dlqsm.core.checks import InputError
from dlqsm.io.outputs import output_folder, whole_file, whole_files, whole_folder, write_text
from dlqsm.io.staging import READY, require_settled

MARK = "mark.json"


def write(folder: Path, text: str, *more: str, overwrite: bool = False) -> None:
    with whole_folder(folder, overwrite=overwrite, produces=(MARK,), replaces=("extra.txt",)) as new:
        for name in ("a.txt", "sub/b.txt", *more, MARK):
            write_text(new / name, text)


def content(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_files_come_together_and_stale_ones_go(tmp_path: Path) -> None:
    write(tmp_path, "old", "extra.txt")
    write(tmp_path, "new", overwrite=True)
    assert content(tmp_path) == {"a.txt": "new", "sub/b.txt": "new", MARK: "new"}


def test_a_failure_leaves_earlier_results_as_they_were(tmp_path: Path) -> None:
    write(tmp_path, "old", "extra.txt")
    before = content(tmp_path)
    with pytest.raises(InputError, match="no good"), whole_folder(tmp_path, overwrite=True, produces=(MARK,)) as new:
        write_text(new / "a.txt", "new")
        raise InputError("no good")
    assert content(tmp_path) == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_failure_in_a_new_folder_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError), whole_folder(tmp_path / "a" / "b", overwrite=False, produces=(MARK,)):
        raise InputError("no good")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("n_moved", range(4))
def test_what_is_stopped_while_files_are_moved_is_ended_by_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_moved: int
) -> None:
    write(tmp_path, "old", "extra.txt")
    plain, moved = Path.replace, []

    def dies(self: Path, target: Path) -> Path:
        if READY in self.parts and target.name != READY:
            if len(moved) == n_moved:
                raise KeyboardInterrupt
            moved.append(target)
        return plain(self, target)

    monkeypatch.setattr(Path, "replace", dies)
    if n_moved < 3:
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, "new", overwrite=True)
        assert not (tmp_path / MARK).exists(), "what is half moved is not called complete"
        with pytest.raises(InputError, match="give that command again"):
            require_settled(tmp_path)
    else:
        write(tmp_path, "new", overwrite=True)
    monkeypatch.undo()
    with pytest.raises(InputError, match=f"already holds {MARK}"):
        write(tmp_path, "newer")
    assert content(tmp_path) == {"a.txt": "new", "sub/b.txt": "new", MARK: "new"}
    require_settled(tmp_path)


def test_files_beside_each_other_come_together(tmp_path: Path) -> None:
    first, second = tmp_path / "v.tsv", tmp_path / "v.json"
    for text in ("old", "new"):
        with whole_files(first, second, overwrite=True) as out:
            write_text(out, text)
            write_text(out.with_suffix(".json"), text)
    with pytest.raises(InputError, match="no good"), whole_files(first, second, overwrite=True) as out:
        write_text(out, "newer")
        raise InputError("no good")
    assert content(tmp_path) == {"v.json": "new", "v.tsv": "new"}


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "no space is left on the disk); free some space, and give the same command again"),
        (errno.EDQUOT, "the disk quota is used up); free some space"),
        (errno.EROFS, "the file system is read-only); give a place on a disk that you may write to"),
        (errno.EACCES, "permission denied); give a place"),
        (errno.EIO, "the disk reports an error); check the disk"),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "replace", "mkdir"])
def test_what_a_disk_refuses_is_said_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, says: str, call: str
) -> None:
    def refuses(*given: object, **_: object) -> None:
        named = [os.fspath(given[0])] if isinstance(given[0], Path) else []
        raise OSError(number, os.strerror(number), *named)

    target = tmp_path / "folder" / "x.txt"
    monkeypatch.setattr(os, call, refuses)
    with pytest.raises(InputError) as caught, whole_file(target) as partial:
        partial.write_text("new")
    monkeypatch.undo()
    assert str(caught.value).startswith(f"{target}: cannot be written (")
    assert says in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_as_hdf5_tells_it(tmp_path: Path) -> None:
    said = "Can't decrement id ref count (unable to close file, errno = 28, error message = 'No space left on device')"
    with pytest.raises(InputError, match=r"x\.h5: cannot be written \(no space is left"), whole_file(tmp_path / "x.h5"):
        raise RuntimeError(said)
    with pytest.raises(RuntimeError, match="seven"), whole_file(tmp_path / "x.h5"):
        raise RuntimeError("seven")


def test_an_error_of_a_file_that_is_read_is_not_blamed_on_the_one_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"), whole_file(tmp_path / "x.txt"):
        (tmp_path / "absent").read_text()


def test_the_name_in_a_sentence_is_the_one_in_the_end(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError) as caught,
        whole_folder(tmp_path / "out", overwrite=False, produces=(MARK,)) as new,
        whole_file(new / "a.txt"),
    ):
        raise OSError(errno.ENOSPC, "full")
    assert str(caught.value).startswith(f"{tmp_path / 'out' / 'a.txt'}: ")


def test_lost_partial_files_go_and_those_of_a_file_that_is_being_written_stay(tmp_path: Path) -> None:
    lost = tmp_path / ".partial-elsewhere-7-a.txt"
    lost.write_text("half")
    (tmp_path / ".b.txt.dlqsm.lock").write_text("elsewhere 1")
    with output_folder(tmp_path, overwrite=True, produces=()):
        assert lost.exists()
    (tmp_path / ".b.txt.dlqsm.lock").unlink()
    with output_folder(tmp_path, overwrite=True, produces=()):
        assert not lost.exists()
