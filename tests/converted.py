"""What `dlqsm convert` wrote, read again."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from dlqsm.cli import main
from made_dicom import (
    MadeSeries,
    stored_magnitude,
)

T1W = MadeSeries(
    2,
    "t1_mprage",
    {"M": stored_magnitude(1, 7)},
    (2.5,),
    more={"InversionTime": 900.0, "ScanningSequence": ["GR", "IR"]},
)


def convert(*words: object) -> None:
    assert main(["convert", *map(str, words), "--quiet"]) == 0


def image(root: Path, echo: int, part: str, stem: str = "sub-01") -> nib.Nifti1Image:
    return nib.load(root / "sub-01" / "anat" / f"{stem}_echo-{echo}_part-{part}_MEGRE.nii.gz")


def sidecar(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def is_valid(root: Path) -> None:
    """The validator of BIDS finds no error; where it is not installed nothing is said."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    validator = shutil.which("bids-validator-deno", path=path)
    if validator is None:
        return
    told = subprocess.run([validator, "--json", str(root)], capture_output=True, text=True, check=False)
    found = json.loads(told.stdout)["issues"]["issues"]
    assert [issue for issue in found if issue["severity"] == "error"] == []


def as_read(volume: np.ndarray) -> np.ndarray:
    """Stored values ``(x, y, z)`` in the order of NIfTI: dcm2niix lets axes run to the right and to the front."""
    return volume[::-1, ::-1]
