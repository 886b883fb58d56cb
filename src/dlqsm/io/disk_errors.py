"""What a disk refuses: the reason, and what to do; nothing heavy is imported, since every command words errors."""

from __future__ import annotations

import errno
import re
from typing import Final

_AGAIN: Final = "and give the same command again"
_SPACE: Final = f"free some space, {_AGAIN}"
_ELSEWHERE: Final = "give a place on a disk that you may write to"
REASONS: Final = {
    errno.ENOSPC: ("no space is left on the disk", _SPACE),
    errno.EDQUOT: ("the disk quota is used up", _SPACE),
    errno.EFBIG: ("a limit of the disk or of this account allows no file of this size", "give a place on another disk"),
    errno.EROFS: ("the file system is read-only", _ELSEWHERE),
    errno.EACCES: ("permission denied", _ELSEWHERE),
    errno.EPERM: ("operation not permitted", _ELSEWHERE),
    errno.EIO: ("the disk reports an error", f"check the disk, {_AGAIN}"),
    errno.ESTALE: ("the network disk has lost it", f"see that it is mounted, {_AGAIN}"),
}
"""Number of the system's error to its reason, and what to do."""
_IN_WORDS: Final = re.compile(r"errno = (\d+)")
"""HDF5 tells the number in its text alone, and where it closes a file it raises a RuntimeError."""


def disk_error_number(error: BaseException) -> int | None:
    """The system's number of an error of the disk; None for any other error."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    told = _IN_WORDS.search(str(error)) if isinstance(error, OSError | RuntimeError) else None
    return None if told is None else int(told[1])


def disk_sentence(error: BaseException) -> str:
    """Reason and advice, for an error whose file is told beside."""
    told = error.strerror if isinstance(error, OSError) else None
    reason, advice = REASONS.get(disk_error_number(error) or 0, (told or str(error), f"mend this, {_AGAIN}"))
    return f"({reason}); {advice}"
