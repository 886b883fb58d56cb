"""Figures that Zhou et al., Front Neurosci 19:1522227 (2025), doi:10.3389/fnins.2025.1522227, published.

``paper.json`` holds numbers alone: the sequence, scan times [s], mean, least and greatest SSIM and PSNR [dB], the range
of Pearson's r over nuclei and arms, the largest difference of group means [percent], correlations with age of the two
nuclei whose values stand in the text (those of the caudate are taken to be of AF 3, 4 and 5 in this order), and the
nuclei said not to be correlated with it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).with_suffix(".json")
MEASURES: Final = ("ssim", "psnr_db")


@functools.cache
def published() -> dict[str, Any]:
    """The published figures."""
    content: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return content


def matching_arms(arms: Sequence[str], reference: str) -> tuple[str, ...]:
    """Arms of a study that are the paper's: of the same names, compared with the same reference; empty where none."""
    content = published()
    return tuple(arm for arm in content["arms"] if arm in arms) if reference == content["reference"] else ()
