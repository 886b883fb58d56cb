"""One process at a time at a place: a file that tells its owner, which the operating system locks as well.

The lock of the operating system ends with its process, whatever ends that: a process number that is given again keeps
nobody out, nor does an owner that died before it could write its name. The name is for people, and for disks that know
no locks or know them on one machine only.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from dlqsm.core.checks import InputError
from dlqsm.io.refusals import unwritable

_TRIES: Final = 50
_WAIT_S: Final = 0.01
NO_LOCKS: Final = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""Errors of a disk that knows no locks."""
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_UNKNOWN: Final = "-"


@contextmanager
def held(lock: Path, place: Path) -> Iterator[None]:
    """Hold a lock for as long as the block runs.

    Parameters
    ----------
    lock
        The file; it is gone when the block ends.
    place
        What it locks, for the sentence.

    Raises
    ------
    InputError
        If another process that lives, or one of another machine, holds it; and if it cannot be written.
    """
    file = _taken(lock, place)
    try:
        yield
    finally:
        # Removed before it is let go: who waits for it then sees that it is another file.
        with suppress(OSError):
            lock.unlink(missing_ok=True)
        file.close()


def _taken(lock: Path, place: Path) -> IO[str]:
    for _ in range(_TRIES):
        try:
            file = lock.open("a+", encoding="utf-8", errors="replace")
        except OSError as error:
            raise unwritable(place, error) from None
        if _is_ours(file, lock, place):
            return file
        file.close()
    raise InputError(f"{place}: the lock {lock.name} changes hands too quickly; try again")


def _is_ours(file: IO[str], lock: Path, place: Path) -> bool:
    """Take the lock of an opened file; False where its former owner has just removed it."""
    try:
        knows_locks = _lock_of_system(file)
    except BlockingIOError:
        raise _refusal(file, lock, place, sure=True) from None
    if not is_same_file(file, lock):
        return False
    file.seek(0)
    if _may_live(file.read(), knows_locks=knows_locks):
        raise _refusal(file, lock, place, sure=False)
    try:
        file.seek(0)
        file.truncate()
        file.write(_owner())
        file.flush()
    except OSError as error:
        with suppress(OSError):
            lock.unlink(missing_ok=True)
        _close(file)
        raise unwritable(lock, error) from None
    return True


def _refusal(file: IO[str], lock: Path, place: Path, *, sure: bool) -> InputError:
    """Who holds the lock, and what to do; the file is closed."""
    host, pid, *_ = [*_owner_told(file), "unknown", "unknown"]
    _close(file)
    advice = "wait for it, or choose another place" + ("" if sure else f"; if it has ended, remove {lock}")
    return InputError(f"{place}: another dlqsm process ({host} {pid}) is writing here; {advice}")


def _owner_told(file: IO[str]) -> list[str]:
    """Words of the owner, who writes them a moment after it has the lock; none where it wrote none in half a second."""
    for _ in range(_TRIES):
        file.seek(0)
        if told := file.read().split():
            return told
        time.sleep(_WAIT_S)
    return []


def _close(file: IO[str]) -> None:
    with suppress(OSError):  # what could not be written is tried once more
        file.close()


def _lock_of_system(file: IO[str]) -> bool:
    """Lock a file; False where its disk knows no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno in NO_LOCKS:
            return False
        raise unwritable(Path(file.name), error) from None
    return True


def is_same_file(file: IO[str], path: Path) -> bool:
    """Whether a path still leads to an open file: who held its lock may have removed it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _owner() -> str:
    return f"{socket.gethostname()} {os.getpid()} {_boot()} {_start_of(os.getpid())}\n"


def _may_live(owner: str, *, knows_locks: bool) -> bool:
    """Whether the process that is named in a lock that the system does not hold may be at work all the same."""
    words = owner.split()
    if len(words) < 2 or not words[1].isdigit():
        return False  # killed before it could write its name
    host, pid, boot, start = (*words, _UNKNOWN, _UNKNOWN)[:4]
    if boot == _UNKNOWN:  # of a version of dlqsm that held no lock of the system
        return host != socket.gethostname() or _is_alive(int(pid))
    if boot != _boot():
        return host != socket.gethostname()
    return not knows_locks and _is_alive(int(pid)) and _start_of(int(pid)) == start


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _boot() -> str:
    """What tells this start of this machine from all others; containers on it share it."""
    try:
        return _BOOT.read_text(encoding="ascii").strip() or "0"
    except OSError:
        return socket.gethostname()


def _start_of(pid: int) -> str:
    """When a process was started, in the system's own count: a number of a process may be given again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "0"
