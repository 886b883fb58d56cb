"""Alarms on clean virtual participants and on 12 planted faults: false-alarm rates with exact intervals, faults found.

    python benchmarks/planted_faults.py [--participants 100] [--faulty 5] [--out benchmarks/results/planted_faults.tsv]

Each participant of a coarse protocol is scanned in three arms (PI2, DL3, DL5), reconstructed by ``sense``, mapped by
the default steps and measured by the virtual atlas without a T1-weighted image. The first ``--faulty`` of them get each
fault beside. A row of the table is one figure of one arm, or the sentence that refused the data before there were
figures; what is in it is not done again, so that a run that was broken off goes on. ``--only NAME ...`` plants some.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from planted_faults_table import CLEAN, COLUMNS, summary

from dlqsm.acquisition.head import Head, Pose, draw_participants, make_head
from dlqsm.acquisition.protocols import Protocol, protocol_from
from dlqsm.acquisition.virtual_scan import acquire
from dlqsm.core.atlas import Atlas
from dlqsm.core.checks import InputError
from dlqsm.core.lags import LagSums
from dlqsm.core.raw import MemoryRaw
from dlqsm.core.scan import Scan
from dlqsm.io.anatomy import load_anatomy
from dlqsm.pipeline import QsmMaps, map_susceptibility, sums_of_images
from dlqsm.pipeline.alignment import Alignment
from dlqsm.pipeline.arm_figures import ScanFacts, figures_beside, least_side_distance_mm, registration_alarm_figures
from dlqsm.pipeline.map_figures import coil_figures, map_figures
from dlqsm.pipeline.nuclei import ArmMap, ArmNuclei, find_atlas, locate_nuclei
from dlqsm.pipeline.phase_trust import phase_trust
from dlqsm.qsm.poles import poles_of_echoes
from dlqsm.reconstruction.reconstruct import reconstruct

PROTOCOL = {
    "base": "small",
    "name": "alarms",
    "shape": [64, 64, 36],
    "voxel_size_mm": [3.2, 3.2, 4.0],
    "fine_factor": [2, 2, 2],
    "n_coils": 8,
    "echo_times_s": [0.0033, 0.008, 0.0127, 0.0174, 0.0221],
}
ARMS, REFERENCE, SEED = ("PI2", "DL3", "DL5"), "PI2", 2026
Figures = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Scanned:
    """One reconstructed arm."""

    name: str
    images: torch.Tensor
    sums: LagSums
    scan: Scan
    figures: Mapping[str, float]
    acceleration: float


@dataclass(frozen=True)
class Mapped:
    """Its maps and figures."""

    scanned: Scanned
    maps: QsmMaps
    figures: dict[str, float]


@dataclass(frozen=True)
class Clean:
    """A participant without faults, of which faults are made."""

    head: Head
    arms: dict[str, Mapped]
    found: list[ArmNuclei]
    atlas: Atlas
    raw: MemoryRaw


# What is planted ------------------------------------------------------------------------------------------------------


def sign_flipped(clean: Clean) -> Figures:
    """The phase of the reference arm turned."""
    own = clean.arms[REFERENCE].scanned
    return {REFERENCE: mapped(_with_phase(own, -own.images.angle())).figures}


def echo_times_in_ms(clean: Clean) -> Figures:
    """Milliseconds given as seconds."""
    own = clean.arms[REFERENCE].scanned
    return {REFERENCE: mapped(replace(own, scan=_timed(own.scan, 1e3))).figures}


def wrong_b0_axis(clean: Clean) -> Figures:
    """B0 told along the second axis of the array."""
    own = clean.arms[REFERENCE].scanned
    return {REFERENCE: mapped(replace(own, scan=dataclasses.replace(own.scan, b0_direction=(0.0, 1.0, 0.0)))).figures}


def echoes_swapped(clean: Clean) -> Figures:
    """Images of the second and third echo exchanged."""
    own = clean.arms[REFERENCE].scanned
    images = own.images[[0, 2, 1, *range(3, len(own.images))]]
    return {REFERENCE: mapped(_with_images(own, images)).figures}


def mask_shifted(clean: Clean) -> Figures:
    """The brain mask given, three voxels off along the second axis."""
    own = clean.arms[REFERENCE]
    return {REFERENCE: mapped(own.scanned, mask=torch.roll(own.maps.mask, 3, 1)).figures}


def atlas_mirrored(clean: Clean) -> Figures:
    """Template and labels of the atlas turned over along x, its affine as before."""
    atlas = clean.atlas
    turned = dataclasses.replace(
        atlas,
        template=atlas.template.flip(0),
        probabilities=atlas.probabilities.flip(1),
        brain=atlas.brain.flip(0),
        chi_ppm=None if atlas.chi_ppm is None else atlas.chi_ppm.flip(0),
    )
    return beside({REFERENCE: clean.arms[REFERENCE]}, turned)[0]


def arms_swapped(clean: Clean) -> Figures:
    """Files of DL3 and DL5 under each other's names."""
    arms = {**clean.arms, "DL3": clean.arms["DL5"], "DL5": clean.arms["DL3"]}
    facts = {name: _facts(arm) for name, arm in arms.items()}
    return {name: figures_beside(name, facts, REFERENCE) for name in arms}


def field_doubled(clean: Clean) -> Figures:
    """The phase scaled by two."""
    own = clean.arms[REFERENCE].scanned
    return {REFERENCE: mapped(_with_phase(own, 2.0 * own.images.angle())).figures}


def motion_of_5_degrees(clean: Clean) -> Figures:
    """DL3 scanned with the head turned by 5 degrees about the axis from ear to ear."""
    moved = mapped(scanned(clean.head, "DL3", pose=Pose((5.0, 0.0, 0.0), (0.0, 0.0, 0.0))))
    found = motions({REFERENCE: clean.arms[REFERENCE], "DL3": moved}, clean.atlas)
    return {"DL3": moved.figures | found["DL3"]}


def half_the_coils_dead(clean: Clean) -> Figures:
    """Every second coil holds noise alone."""
    header, samples = clean.raw.header, clean.raw.samples.copy()
    rng = np.random.default_rng(SEED)
    assert header.noise is not None
    noise_sd = header.noise.real.std(axis=1)
    for coil in range(0, header.n_coils, 2):
        drawn = rng.standard_normal((2, *samples[:, :, coil].shape), dtype=np.float32)
        samples[:, :, coil] = noise_sd[coil] * (drawn[0] + 1j * drawn[1])
    return {REFERENCE: mapped(of_raw(REFERENCE, MemoryRaw(header, samples))).figures}


def phase_filtered(clean: Clean) -> Figures:
    """The phase of each slice divided by its image of the 16 central samples along both axes, as for SWI."""
    own = clean.arms[REFERENCE].scanned
    near = [(torch.fft.fftfreq(n, 1.0 / n).abs() < 8).float() for n in own.images.shape[1:3]]
    low = torch.fft.ifft2(torch.fft.fft2(own.images, dim=(1, 2)) * (near[0][:, None] * near[1])[..., None], dim=(1, 2))
    return {REFERENCE: mapped(_with_phase(own, (own.images * low.conj()).angle())).figures}


def wrong_reference(clean: Clean) -> Figures:
    """The globus pallidus given as the region of mean zero."""
    names = {number for number, (roi, _) in clean.atlas.names.items() if roi in ("GPe", "GPi")}
    labels = next(one.labels for one in clean.found if one.name == REFERENCE)
    region = torch.isin(labels, torch.tensor(sorted(names), dtype=labels.dtype))
    return {REFERENCE: mapped(clean.arms[REFERENCE].scanned, region=region).figures}


FAULTS: dict[str, Callable[[Clean], Figures]] = {
    "sign flipped": sign_flipped,
    "TE in ms": echo_times_in_ms,
    "wrong B0 axis": wrong_b0_axis,
    "echo swapped": echoes_swapped,
    "mask off by 3 voxels": mask_shifted,
    "atlas mirrored": atlas_mirrored,
    "arms swapped": arms_swapped,
    "field doubled": field_doubled,
    "motion of 5 degrees": motion_of_5_degrees,
    "half the coils dead": half_the_coils_dead,
    "phase filtered": phase_filtered,
    "wrong reference": wrong_reference,
}


# How figures are made -------------------------------------------------------------------------------------------------


def scanned(head: Head, arm: str, *, pose: Pose | None = None) -> Scanned:
    """Scan and reconstruct one arm."""
    return of_raw(arm, acquire(head, protocol(), arm, SEED, pose=pose).raw)


def of_raw(arm: str, raw: MemoryRaw) -> Scanned:
    """Reconstruct raw data."""
    made = reconstruct(raw, "sense", seed=0)
    figures = coil_figures(made.decisions)
    return Scanned(arm, made.images, made.lag_sums, raw.header.scan, figures, raw.header.acceleration)


def mapped(own: Scanned, *, mask: torch.Tensor | None = None, region: torch.Tensor | None = None) -> Mapped:
    """Maps of an arm and their figures, as `dlqsm qsm` has them."""
    maps = map_susceptibility(own.sums, own.scan, external_mask=mask, reference_region=region)
    poles = poles_of_echoes(own.sums.lags[:1].angle())
    trust = phase_trust(maps, own.scan, poles, "the phase between neighbouring echoes, over all coils")
    return Mapped(own, maps, {**own.figures, **map_figures(maps, own.sums, own.scan, trust, mask)})


def beside(arms: Mapping[str, Mapped], atlas: Atlas) -> tuple[Figures, list[ArmNuclei]]:
    """Figures of arms beside each other and of the atlas."""
    maps = [arm_map(name, one) for name, one in arms.items()]
    found = locate_nuclei(maps, atlas, reference=REFERENCE)
    facts = {name: _facts(one) for name, one in arms.items()}
    return {
        one.name: {
            **registration_alarm_figures(one.account),
            **least_side_distance_mm(one.labels, one.grid, atlas.names),
            **figures_beside(one.name, facts, REFERENCE),
        }
        for one in found
    }, found


def motions(arms: Mapping[str, Mapped], atlas: Atlas) -> Figures:
    """The same without the atlas, whose placement takes longer than all else."""
    maps = {name: arm_map(name, one) for name, one in arms.items()}
    run = Alignment(maps[REFERENCE], atlas, "magnitude", None, 0, lambda step, seconds: None)
    facts = {name: _facts(one) for name, one in arms.items()}
    return {
        name: registration_alarm_figures(run.motion(own)[1]) | figures_beside(name, facts, REFERENCE)
        for name, own in maps.items()
    }


def arm_map(name: str, one: Mapped) -> ArmMap:
    """Maps of an arm as the registration takes them."""
    magnitude = one.scanned.sums.power.sum(0).sqrt()
    return ArmMap(name, one.scanned.scan.grid, magnitude, one.maps.chi_ppm, one.maps.mask, one.maps.eroded_mask)


def clean_participant(n: int, n_all: int, atlas: Atlas, *, placed: bool) -> tuple[Clean, Figures]:
    """One participant without faults."""
    head = make_head(load_anatomy(), draw_participants(n_all, SEED)[n])
    raw = acquire(head, protocol(), REFERENCE, SEED).raw
    arms = {REFERENCE: mapped(of_raw(REFERENCE, raw))}
    arms |= {name: mapped(scanned(head, name)) for name in ARMS if name != REFERENCE}
    told, found = beside(arms, atlas) if placed else (motions(arms, atlas), [])
    figures = {name: {**one.figures, **told[name]} for name, one in arms.items()}
    return Clean(head, arms, found, atlas, raw), figures


def protocol() -> Protocol:
    """The coarse protocol."""
    return protocol_from(PROTOCOL).with_straight_heads()


def _facts(arm: Mapped) -> ScanFacts:
    return ScanFacts(arm.scanned.acceleration, arm.figures["noise"])


def _with_images(own: Scanned, images: torch.Tensor) -> Scanned:
    return replace(own, images=images, sums=sums_of_images(images.abs(), images.angle(), own.sums.noise_sd))


def _with_phase(own: Scanned, phase_rad: torch.Tensor) -> Scanned:
    return _with_images(own, torch.polar(own.images.abs(), phase_rad))


def _timed(scan: Scan, factor: float) -> Scan:
    return dataclasses.replace(scan, echo_times_s=tuple(factor * time_s for time_s in scan.echo_times_s))


# The table ------------------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--participants", type=int, default=100)
    parser.add_argument("--faulty", type=int, default=5, help="participants that get the faults (default: 5)")
    parser.add_argument(
        "--placed", type=int, default=100, help="participants in whom the atlas is placed (default: 100)"
    )
    parser.add_argument("--only", nargs="+", choices=tuple(FAULTS), default=list(FAULTS), help="of the faults")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/planted_faults.tsv"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--summary", action="store_true", help="print what the table tells; compute nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if not arguments.summary:
        fill(arguments.out, arguments.participants, arguments.faulty, arguments.placed, arguments.only)
    print(summary(pd.read_csv(arguments.out, sep="\t", keep_default_na=False)))
    return 0


def fill(out: Path, n_participants: int, n_faulty: int, n_placed: int, faults: list[str]) -> None:
    """Add what the table lacks, participant by participant."""
    done = set(zip(*(pd.read_csv(out, sep="\t")[c] for c in COLUMNS[:2]), strict=True)) if out.is_file() else set()
    atlas = find_atlas("virtual")
    for n in range(n_participants):
        label = f"sub-{n + 1:03d}"
        lacking = [case for case in faults if n < n_faulty and (label, case) not in done]
        if (label, CLEAN) in done and not lacking:
            continue
        begun = time.process_time()
        clean, figures = clean_participant(n, max(n_participants, 100), atlas, placed=n < max(n_placed, n_faulty))
        if (label, CLEAN) not in done:
            append(out, label, CLEAN, figures, "")
        print(f"{label} {CLEAN} {time.process_time() - begun:.0f} processor seconds", flush=True)
        for case in lacking:
            begun, refused, figures = time.process_time(), "", {}
            try:
                figures = FAULTS[case](clean)
            except InputError as error:
                refused = str(error)
            append(out, label, case, figures, refused)
            print(f"{label} {case} {time.process_time() - begun:.0f} processor seconds", flush=True)


def append(out: Path, label: str, case: str, figures: Figures, refused: str) -> None:
    """Add the rows of one case to the table in one write."""
    rows = [(label, case, arm, name, f"{value:.6g}", "") for arm, own in figures.items() for name, value in own.items()]
    rows += [(label, case, "", "", "", refused)] if refused else []
    begin = "" if out.is_file() else "\t".join(COLUMNS) + "\n"
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a", encoding="utf-8") as file:
        file.write(begin + "".join("\t".join(row) + "\n" for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
