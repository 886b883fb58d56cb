"""Whole files, locked folders, nothing left behind."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dlqsm.core.checks import InputError
from dlqsm.io.outputs import LOCK_NAME, output_folder, read_json, whole_file, write_json


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "a" / "x.nii.gz"
    with pytest.raises(RuntimeError), whole_file(target) as partial:
        partial.write_bytes(b"half")
        assert partial.name.endswith("x.nii.gz")
        raise RuntimeError
    assert not target.parent.exists()
    with whole_file(target) as partial:
        partial.write_bytes(b"whole")
    assert target.read_bytes() == b"whole"


def test_a_failed_replacement_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), whole_file(target) as partial:
        partial.write_text("new")
        raise RuntimeError
    assert target.read_text() == "old"


def test_within_another_the_error_names_the_file_that_is_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "file.nii.gz"
    with pytest.raises(InputError) as caught, whole_file(target) as outer, whole_file(outer):
        raise OSError(errno.ENOSPC, "no space")
    assert str(caught.value).startswith(f"{target}: cannot be written (no space is left on the disk)")
    with whole_file(target) as outer:
        with whole_file(outer) as inner:
            inner.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new" and list(tmp_path.iterdir()) == [target]


def test_json_has_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_json_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    (tmp_path / "y.json").write_text("[1]")
    for name, says in (("x.json", "expected JSON"), ("y.json", "JSON object"), ("z.json", "no such file")):
        with pytest.raises(InputError, match=says):
            read_json(tmp_path / name)


def test_a_folder_made_for_a_run_that_fails_is_removed(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    with pytest.raises(InputError), output_folder(out, overwrite=False, produces=("x",)):
        raise InputError("bad")
    assert not (tmp_path / "a").exists()


def test_results_are_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old")
    with pytest.raises(InputError, match="--overwrite"), output_folder(tmp_path, overwrite=False, produces=("x",)):
        pass
    with output_folder(tmp_path, overwrite=True, produces=("x",)):
        assert (tmp_path / LOCK_NAME).exists()
    assert not (tmp_path / LOCK_NAME).exists()


def test_a_live_owner_keeps_others_out_and_a_dead_one_does_not(tmp_path: Path) -> None:
    with (
        output_folder(tmp_path, overwrite=False, produces=()),
        pytest.raises(InputError, match="another dlqsm process"),
        output_folder(tmp_path, overwrite=False, produces=()),
    ):
        pass
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    host = os.uname().nodename
    (tmp_path / LOCK_NAME).write_text(f"{host} {int(dead.stdout)}")
    with output_folder(tmp_path, overwrite=False, produces=()):
        pass
    (tmp_path / LOCK_NAME).write_text("elsewhere 1")
    with pytest.raises(InputError, match="elsewhere 1"), output_folder(tmp_path, overwrite=False, produces=()):
        pass


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "out").write_text(json.dumps({}))
    with (
        pytest.raises(InputError, match="this is a file"),
        output_folder(tmp_path / "out", overwrite=True, produces=()),
    ):
        pass
