"""Which failures are the input's, and the sentence they get."""

from __future__ import annotations

import re

from dlqsm.io.disk_errors import REASONS, disk_sentence

EXIT_UNUSABLE = 2

_NO_MEMORY = ("not enough memory", "out of memory", "can't allocate memory")


def on_one_line(text: str) -> str:
    """Text of files and their names without line breaks, and without codes that would steer a terminal."""
    spaced = re.sub(r"\s*[\n\r\v\f\x85\u2028\u2029]\s*", " ", text.strip())
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in spaced)


def one_sentence(error: Exception) -> str | None:
    """The sentence for an error of input, disk or memory; None for a defect of dlqsm itself."""
    if type(error).__name__ == "InputError":
        return on_one_line(str(error))
    if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY):
        return "the machine has too little memory for these images; close other programs or use a larger machine"
    if isinstance(error, OSError) and error.filename is not None:
        return on_one_line(f"{error.filename}: cannot be read or written {disk_sentence(error)}")
    if isinstance(error, OSError) and error.errno in REASONS:
        return f"a file cannot be read or written {disk_sentence(error)}"
    return None
