"""Hash of the package's own code: what was made by other code is not taken for what this code makes."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

import dlqsm

CODE_SUFFIXES: Final = (".py", ".j2", ".css", ".safetensors")
"""Files of the package on which results depend; weights among them."""


@cache
def code_hash(parts: tuple[str, ...]) -> str:
    """Hash over the source files in parts of the package; the whole package for an empty part."""
    package = Path(dlqsm.__file__).parent
    digest = hashlib.sha256()
    for part in parts:
        place = package / part
        files = [place] if place.is_file() else [p for p in place.rglob("*") if p.suffix in CODE_SUFFIXES]
        for path in sorted(files):
            digest.update(str(path.relative_to(package)).encode() + path.read_bytes())
    return digest.hexdigest()
