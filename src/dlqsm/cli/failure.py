"""Which failures are the input's, and the sentence they get."""

from __future__ import annotations

from dlqsm.io.disk_errors import REASONS, disk_sentence

EXIT_UNUSABLE = 2


def one_sentence(error: Exception) -> str | None:
    """The sentence for an error of input, disk or memory; None for a defect of dlqsm itself."""
    if type(error).__name__ == "InputError":
        return str(error)
    if isinstance(error, MemoryError) or "not enough memory" in str(error) or "out of memory" in str(error):
        return "the machine has too little memory for these images; close other programs or use a larger machine"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: cannot be read or written {disk_sentence(error)}"
    if isinstance(error, OSError) and error.errno in REASONS:
        return f"a file cannot be read or written {disk_sentence(error)}"
    return None
