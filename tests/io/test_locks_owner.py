"""Who holds a place is told even where the owner has not yet written its name."""

import threading
from pathlib import Path

from dlqsm.io.locks import _owner_told


def test_an_owner_that_has_just_begun_is_waited_for(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    writes = threading.Timer(0.1, lock.write_text, ["vm 2923 - -"])
    with lock.open() as file:
        writes.start()
        assert _owner_told(file)[:2] == ["vm", "2923"]
    writes.join()


def test_an_owner_that_writes_nothing_is_not_waited_for_long(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    with (tmp_path / "lock").open() as file:
        assert _owner_told(file) == []
