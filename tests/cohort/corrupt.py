"""Raw data spoilt in three unlike ways, and what a run says of each."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np


def cut_off(raw: Path) -> None:
    os.truncate(raw, raw.stat().st_size // 2)


def text_instead(raw: Path) -> None:
    raw.write_text("The scanner was busy.\n" * 1000)


def not_finite(raw: Path) -> None:
    """One acquisition in the middle holds NaN."""
    with h5py.File(raw, "r+") as file:
        data = file["dataset/data"]
        row = data[len(data) // 2]
        row["data"] = np.full_like(row["data"], np.nan)
        data[len(data) // 2] = row


WAYS: tuple[tuple[str, Callable[[Path], None], str], ...] = (
    ("DL3", cut_off, "is an HDF5 file that is cut off or damaged; copy or export it again"),
    ("PI2", text_instead, "is not an HDF5 file; expected raw data in ISMRMRD form (.h5)"),
    ("DL3", not_finite, "holds samples that are not finite; export the raw data again"),
)
"""The arm whose file is spoilt, how, and the end of the sentence."""


def spoil(bids: Path, labels: tuple[str, str, str]) -> dict[str, tuple[Path, str]]:
    """Spoil one file of each of three participants; returns the file and the end of the sentence by participant.

    Files may be links to those of other participants, which stay as they are.
    """
    spoilt = {}
    for label, (arm, damage, sentence) in zip(labels, WAYS, strict=True):
        raw = bids / "sourcedata" / label / "anat" / f"{label}_acq-{arm}_MEGRE.h5"
        own = raw.with_name("own")
        shutil.copyfile(raw, own)
        own.replace(raw)
        damage(raw)
        spoilt[label] = (raw, sentence)
    return spoilt
