"""TOML files: configurations and protocols."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from dlqsm.core.checks import InputError
from dlqsm.io.files import require_file


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file, or raise `InputError` with the place of the mistake."""
    require_file(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    # Beside its own error the parser lets those of too long numbers and too deep nesting through.
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected TOML, but it cannot be read ({error})") from None
