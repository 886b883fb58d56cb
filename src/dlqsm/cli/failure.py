"""Which failures are the input's, and the sentence they get."""

from __future__ import annotations

import errno

EXIT_UNUSABLE = 2

_DISK = {errno.ENOSPC: "no space is left on the disk", errno.EROFS: "the file system is read-only"}


def one_sentence(error: Exception) -> str | None:
    """The sentence for an error of input, disk or memory; None for a defect of dlqsm itself."""
    if type(error).__name__ == "InputError":
        return str(error)
    if isinstance(error, MemoryError) or "not enough memory" in str(error) or "out of memory" in str(error):
        return "the machine has too little memory for these images; close other programs or use a larger machine"
    if isinstance(error, OSError) and error.filename is not None:
        reason = _DISK.get(error.errno or 0, error.strerror or str(error))
        return f"{error.filename}: cannot be read or written ({reason})"
    if isinstance(error, OSError) and error.errno in _DISK:
        return _DISK[error.errno]
    return None
