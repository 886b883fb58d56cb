"""What headers tell of phase images beside their unit: the vendor, and whether a high-pass filter went over them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from dlqsm.io.sidecars import inherited_sidecar

_FILTERED_TYPES: Final = ("SWI", "MNIP", "MINIP", "FILTERED", "HOMODYNE")
_FILTERED_NAME: Final = re.compile(r"pha_images|filt_?pha|filtered|homodyne|high[ _-]?pass", re.IGNORECASE)
"""How Siemens (Pha_Images) and GE (FILT_PHA) name the filtered phase of susceptibility-weighted scans, and plain words.

SWI alone in a name is no proof: unfiltered phase of such a protocol can be saved too. The data decide then.
"""


def filtered_by_header(about: Mapping[str, Any]) -> str | None:
    """What in a header says that the phase was filtered; None where nothing does.

    In this order: ImageType, ProcessingFunction, SeriesDescription.
    """
    words = about.get("ImageType")
    for word in words if isinstance(words, list | tuple) else [words]:
        if any(kind in re.split(r"[\s_]+", str(word).upper()) for kind in _FILTERED_TYPES):
            return f"ImageType holds {word}"
    for key in ("ProcessingFunction", "SeriesDescription"):
        told = str(about.get(key, "") or "")
        found = _FILTERED_NAME.search(told) or (re.search("SWI", told.upper()) if key == "ProcessingFunction" else None)
        if found:
            # The word alone: people type names beside it.
            return f"{key} holds '{found[0]}'"
    return None


def filtered_image(paths: Iterable[Path]) -> tuple[Path, str] | None:
    """The first image whose sidecar says that it was filtered, and what says so."""
    for path in paths:
        reason = filtered_by_header(inherited_sidecar(path))
        if reason:
            return path, reason
    return None


def vendor_of(about: Mapping[str, Any]) -> str:
    """Who made the scanner: GE, SIEMENS, PHILIPS, UIH, or as the header says it; empty where it does not."""
    told = str(about.get("Manufacturer", "") or "").upper()
    return next((name for name in ("GE", "SIEMENS", "PHILIPS", "UIH") if told.startswith(name)), told)
