"""Write a susceptibility map as DICOM, beside the scan that it was made of, for archives and viewers.

DICOM_REF is the folder, zip file or file of that scan; the map must lie on the grid of one of its series, as it does
where `dlqsm convert` or dcm2niix made the images. OUT_DIR receives one MR image a slice, signed integers with a rescale
to ppb, as a new series of the same study, in the same place, with references to the images of each slice.

Name, number, birth date and study of the person are copied from DICOM_REF, since a series without them belongs to
nobody: keep the output where the scan may be kept. Values outside the mask of the map are 0. Research use only.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlqsm.cli.arguments import add_memory_argument, path, positive
from dlqsm.cli.console import Talk, start
from dlqsm.cli.single_step import require_ppm, state_step_memory
from dlqsm.core.checks import InputError
from dlqsm.core.scan import Grid
from dlqsm.io.dicom_export import method_sentence, series_of_map, stored_numbers, write_images
from dlqsm.io.dicom_files import read_study
from dlqsm.io.dicom_header import Series
from dlqsm.io.dicom_stack import Stack, on_stack, read_stack, same_voxels
from dlqsm.io.nifti import read_volume
from dlqsm.io.outputs import whole_folder
from dlqsm.io.sidecars import inherited_sidecar

LARGEST_PPM = 20.0
"""Nothing in or around a head is beyond; a map in ppb is."""
NUMBER_STEP = 1000
FIRST_FILE = "IM000001.dcm"
LONGEST_DESCRIPTION, LARGEST_NUMBER = 64, 2**31 - 1
"""What DICOM allows."""


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments."""
    del words
    parser.add_argument("chi", type=path, metavar="CHI.nii.gz", help="susceptibility [ppm]")
    parser.add_argument("reference", type=path, metavar="DICOM_REF", help="folder, .zip or file of the scan")
    parser.add_argument("out", type=path, metavar="OUT_DIR", help="folder for the DICOM files")
    parser.add_argument(
        "--series", type=int, nargs="+", metavar="N", help="series of DICOM_REF that the map is of (default: by grid)"
    )
    parser.add_argument(
        "--series-number",
        type=positive(int),
        metavar="N",
        help=f"number of the new series (default: that of the scan plus {NUMBER_STEP})",
    )
    parser.add_argument("--description", default="QSM [ppb]", metavar="TEXT", help="of the series (default: QSM [ppb])")
    add_memory_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; everything is made before anything is written."""
    talk, _ = start(arguments)
    _require_allowed(arguments)
    state_step_memory(arguments, talk, "export", arguments.chi)
    chi_ppm, grid, sidecar = _read_map(arguments.chi, talk)
    with tempfile.TemporaryDirectory(prefix="dlqsm-export-") as scratch:
        stacks, turned = _matching(arguments, chi_ppm, grid, Path(scratch))
    for stack in stacks:
        talk.say(f"  beside {stack.series}, {sum(map(len, stack.sources))} images")
    images = series_of_map(
        turned,
        stacks,
        number=arguments.series_number or stacks[0].series.number + NUMBER_STEP,
        description=arguments.description,
        derivation=method_sentence(sidecar),
    )
    talk.say(f"  {len(images)} slices, in steps of {stored_numbers(turned)[1]:g} ppb")
    earlier = [path.name for path in arguments.out.glob("IM??????.dcm")]
    place = whole_folder(arguments.out, overwrite=arguments.overwrite, produces=(FIRST_FILE,), replaces=earlier)
    with place as folder:
        write_images(folder, images)
    print(arguments.out)
    return 0


def _require_allowed(arguments: argparse.Namespace) -> None:
    text, number = arguments.description, arguments.series_number or 1
    if len(text) > LONGEST_DESCRIPTION or "\\" in text:
        raise InputError(f"--description can have {LONGEST_DESCRIPTION} characters and no backslash; got '{text}'")
    if number > LARGEST_NUMBER:
        raise InputError(f"--series-number can be {LARGEST_NUMBER} at most; got {number}")


def _read_map(file: Path, talk: Talk) -> tuple[NDArray[np.float32], Grid, dict[str, Any]]:
    """The map [ppm], its grid and what its sidecar tells."""
    values, grid = read_volume(file)
    sidecar = inherited_sidecar(file)
    unit = sidecar.get("Units", "ppm")
    if unit != "ppm":
        raise InputError(f"{file}: is in {unit} by its sidecar; expected susceptibility in ppm")
    require_ppm(file, values)
    bad = int((~values.isfinite()).sum())
    if bad:
        talk.say(f"  note: {bad} voxels are not finite; they become 0")
    chi_ppm = values.nan_to_num(0.0, 0.0, 0.0).float().numpy()
    largest = float(np.abs(chi_ppm).max())
    if not 0 < largest <= LARGEST_PPM:
        raise InputError(f"{file}: expected susceptibility in ppm; the largest value is {largest:.4g}")
    return chi_ppm, grid, sidecar


def _matching(
    arguments: argparse.Namespace, chi_ppm: NDArray[np.float32], grid: Grid, scratch: Path
) -> tuple[list[Stack], NDArray[np.float32]]:
    """Series on the grid of the map, and the map along their axes."""
    found: list[tuple[Stack, NDArray[np.float32]]] = []
    reasons = []
    for series in _asked_for(arguments, read_study(arguments.reference, scratch).series):
        try:
            stack = read_stack(series)
        except InputError as error:
            reasons.append(str(error))
            continue
        turned = on_stack(chi_ppm, grid, stack.grid)
        if turned is None:
            reasons.append(f"{series} has {stack.grid.shape} voxels of {_sizes(stack.grid)} mm")
        else:
            found.append((stack, turned))
    if not found:
        raise InputError(
            f"{arguments.chi}: {grid.shape} voxels of {_sizes(grid)} mm lie on the grid of no series of "
            f"{arguments.reference} ({'; '.join(reasons)}); give the DICOM files that the map was made of"
        )
    _require_one_study(arguments.reference, [stack for stack, _ in found])
    first, turned = found[0]
    return [stack for stack, _ in found if same_voxels(stack.grid, first.grid)], turned


def _asked_for(arguments: argparse.Namespace, known: Sequence[Series]) -> list[Series]:
    numbers = {series.number for series in known}
    absent = sorted(set(arguments.series or ()) - numbers)
    if absent:
        told = ", ".join(map(str, sorted(numbers)))
        raise InputError(f"{arguments.reference}: holds no series {absent[0]}; --series can be of {told}")
    return [series for series in known if arguments.series is None or series.number in arguments.series]


def _require_one_study(reference: Path, stacks: list[Stack]) -> None:
    studies = {(str(s.head.get("StudyInstanceUID")), str(s.head.get("FrameOfReferenceUID"))) for s in stacks}
    if len(studies) > 1:
        numbers = " ".join(str(stack.series.number) for stack in stacks)
        raise InputError(
            f"{reference}: series {numbers} lie on the grid of the map, but are of several studies or positions; "
            "choose with --series"
        )


def _sizes(grid: Grid) -> str:
    return " x ".join(f"{edge:.4g}" for edge in grid.voxel_size_mm)
