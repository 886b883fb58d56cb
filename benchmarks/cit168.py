"""The CIT168 atlas on virtual heads and a real one: score, coverage, rerun spread, and Dice where the truth is known.

    python benchmarks/cit168.py ATLAS [--philips NIFTI] [--heads 1] [--seed 501] [--pictures DIR]

ATLAS is a folder of the atlas's four files, or cit168. Virtual heads: arm PI2 of protocol small, sense, default QSM, a
T1-weighted image at 1 mm; Dice with the true labels on the arm's own grid of 1.6 x 1.6 x 4 mm. NIFTI is the folder of
the dual-echo Philips head (3 mm voxels, no T1-weighted image), whose truth nobody knows. Pictures of all go to DIR.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from record import Record
from registration import Case, dice, make_case, means, processor_s

from dlqsm.acquisition.head import draw_participants
from dlqsm.cli import main as dlqsm
from dlqsm.core.labels import NUCLEI
from dlqsm.core.scan import Grid
from dlqsm.io.nifti import read_mask, read_volume
from dlqsm.nuclei.weighting import measure_nuclei
from dlqsm.pipeline.nuclei import ArmMap, ArmNuclei, find_atlas, locate_nuclei
from dlqsm.pipeline.reruns import COLUMN, with_rerun_sd
from dlqsm.report.registration import png, registration_figure

STEM = "2001_WIP_fcMRI_Field_Mapping_cl"


@dataclass(frozen=True)
class Head:
    """One head to place the atlas in; ``case`` holds the truth of a virtual one."""

    name: str
    arm: ArmMap
    t1w: tuple[torch.Tensor, Grid] | None
    case: Case | None = None


def virtual_heads(count: int, seed: int) -> Iterator[Head]:
    """Heads whose labels are known."""
    for participant in draw_participants(count, seed):
        case = make_case(participant, seed)
        yield Head(f"virtual {participant.label}", case.arm, case.t1w, case)


def philips_head(folder: Path) -> Head:
    """The real head, mapped by ``dlqsm qsm`` as it comes."""
    magnitude = [str(folder / f"{STEM}_e{echo}.nii.gz") for echo in (1, 2)]
    phase = [str(folder / f"{STEM}_e{echo}_ph.nii.gz") for echo in (1, 2)]
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "qsm"
        if dlqsm(["qsm", str(out), "--magnitude", *magnitude, "--phase", *phase, "--quiet"]) != 0:
            raise SystemExit("dlqsm qsm failed")
        chi_ppm, grid = read_volume(out / "Chimap.nii.gz")
        brain, valid = (read_mask(out / f"{part}.nii.gz", grid, "the map") for part in ("mask", "mask_desc-eroded"))
    return Head("Philips", ArmMap("A", grid, read_volume(Path(magnitude[0]))[0], chi_ppm, brain, valid), None)


def judge(record: Record, head: Head, atlas_name: str, reruns: int, pictures: Path | None) -> None:
    """Rows of one head, and its picture."""
    atlas = find_atlas(atlas_name)
    before = processor_s()
    (found,) = locate_nuclei([head.arm], atlas, reference=head.arm.name, t1w=head.t1w)
    record.add(head.name, "processor seconds", processor_s() - before, roi="all")
    score = found.account["placement"]["local_correlation"]
    record.add(head.name, "local correlation", score["after"], roi="all")
    record.add(head.name, "local correlation, affine alone", score["before"], roi="all")
    coverage = {key: told["valid"] for key, told in found.account["coverage"].items()}
    least = min(coverage, key=lambda key: coverage[key])
    record.add(head.name, "least coverage percent", 100 * coverage[least], roi=least)
    measured_ppm = head.arm.chi_ppm.masked_fill(~head.arm.valid, math.nan)
    table = measure_nuclei(
        measured_ppm, found.probabilities, atlas.names, head.arm.grid, participant="x", arm=head.arm.name
    )
    table = with_rerun_sd(table, head.arm, atlas, n_reruns=reruns, t1w=head.t1w)
    both = table[table["side"] == "both"].set_index("roi")
    for roi in NUCLEI:
        record.add(head.name, "mean ppb", float(both.loc[roi, "mean_ppb"]), roi=roi)
        record.add(head.name, "rerun SD ppb", float(both.loc[roi, COLUMN]), roi=roi)
    beside_truth(record, head, found)
    if pictures is not None:
        figure = registration_figure(
            head.arm.magnitude, head.arm.chi_ppm, found.labels, head.arm.grid, atlas.names,
            probabilities=found.probabilities, template=found.template, title=f"{head.name}: {atlas.name}",
        )  # fmt: skip
        pictures.mkdir(parents=True, exist_ok=True)
        (pictures / f"{head.name.replace(' ', '_')}.png").write_bytes(png(figure))


def beside_truth(record: Record, head: Head, found: ArmNuclei) -> None:
    """Dice and the difference of means, where the truth is known."""
    if head.case is None:
        return
    overlap, values = dice(found.labels, head.case.true_own), means(head.case, found, "label")
    for roi in NUCLEI:
        record.add(head.name, "Dice", overlap[roi], roi=roi)
        difference = float(values.loc[roi, "mean_ppb"] - values.loc[roi, "true_ppb"])
        record.add(head.name, "mean minus that of true labels ppb", difference, roi=roi)
    errors: pd.Series = values["mean_ppb"] - values["true_ppb"]
    record.add(head.name, "mean absolute difference ppb", float(np.abs(errors).mean()), roi="all")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("atlas", metavar="ATLAS")
    parser.add_argument("--philips", type=Path, metavar="NIFTI")
    parser.add_argument("--heads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=501)
    parser.add_argument("--reruns", type=int, default=2)
    parser.add_argument("--pictures", type=Path, metavar="DIR")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "cit168.tsv")
    arguments = parser.parse_args()
    record = Record(arguments.out)
    heads = [] if arguments.philips is None else [philips_head(arguments.philips)]
    for head in [*heads, *virtual_heads(arguments.heads, arguments.seed)]:
        judge(record, head, arguments.atlas, arguments.reruns, arguments.pictures)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
