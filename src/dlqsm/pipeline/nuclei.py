"""Maps of one participant's arms and an atlas to nuclei on each arm's own grid."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch

from dlqsm.core.alarms import least_of
from dlqsm.core.atlas import Atlas
from dlqsm.core.checks import InputError, require_choice, require_mask, require_shape
from dlqsm.core.scan import Grid
from dlqsm.nuclei.noise import weights_of, with_noise_sd
from dlqsm.nuclei.transfer import coverage, labels_of, transfer_labels
from dlqsm.nuclei.transforms import Chain, Linear, positions, resample
from dlqsm.nuclei.weighting import measure_nuclei
from dlqsm.pipeline.alignment import Alignment, ArmMap, Report
from dlqsm.pipeline.atlases import find_atlas

__all__ = ["CHANNELS", "ArmMap", "ArmNuclei", "find_atlas", "locate_nuclei", "measure_arm", "small_labels"]

CHANNELS: Final = ("auto", "t1w", "t1w+chi", "magnitude", "magnitude+chi")
LOW_COVERAGE: Final = least_of("coverage")
"""Share of a nucleus inside the valid mask below which a warning is given."""
FEW_VOXELS: Final = 10
"""Voxels of a nucleus's side below which it is named: on virtual heads of 4 mm slices the substantia nigra pars
compacta had 7, its own-grid Dice was 0.65 (worst 0.25), and one arm's mean came out 46 ppb high.
"""


@dataclass(frozen=True, slots=True, eq=False)
class ArmNuclei:
    """Nuclei of one arm.

    Parameters
    ----------
    name
        The arm.
    grid
        Its own grid; the reference arm's where chi was resampled as in the paper.
    chi_ppm
        Susceptibility relative to its mean over ``common`` [ppm], zero outside the arm's valid mask.
    labels, probabilities
        Numbers of the atlas's names (uint8, 0 outside), and the share of each voxel that each label fills.
    common
        The mask that all arms share: the intersection of their valid masks after registration, on this grid.
    reference_ppm
        The mean that was subtracted.
    account
        Motion to the reference arm, similarity, coverage and what was decided, plain values for JSON.
    template
        The atlas's template on this grid, for pictures.
    resampled
        Where chi was brought to another grid: its own grid, and the way there from this one.
    """

    name: str
    grid: Grid
    chi_ppm: torch.Tensor
    labels: torch.Tensor
    probabilities: torch.Tensor
    common: torch.Tensor
    reference_ppm: float
    account: dict[str, Any]
    template: torch.Tensor | None = None
    resampled: tuple[Grid, Chain] | None = None


def locate_nuclei(
    arms: Sequence[ArmMap],
    atlas: Atlas,
    *,
    reference: str,
    t1w: tuple[torch.Tensor, Grid] | None = None,
    store: Path | None = None,
    like_paper: bool = False,
    channels: str = "auto",
    seed: int = 0,
    report: Report = lambda step, seconds: None,
) -> list[ArmNuclei]:
    """Find the nuclei of one participant in all arms.

    The other arms are brought to the reference arm by rigid motion of their magnitude. The atlas is placed once, by the
    reference arm's image and the mean susceptibility of the arms that agree with it, so that all measure the same
    tissue and none is favoured. Each arm's susceptibility loses its mean over the mask that these share; one that does
    not agree with the reference arm is measured, but moves nothing of the others.

    Parameters
    ----------
    arms
        Maps of the arms, one participant.
    atlas
        From `find_atlas`.
    reference
        Name of the arm that the atlas is placed in.
    t1w
        T1-weighted image and its grid, whole head; anywhere near in scanner space.
    store
        Folder of transforms: written when made, reused when made from the same input.
    like_paper
        Bring the other arms' chi to the reference arm's grid (trilinear, which smooths them) instead of labels to
        theirs.
    channels
        What the atlas is registered on, one of `CHANNELS`; ``auto``: the T1-weighted image where there is one, else
        the magnitude, with susceptibility as second channel where the atlas has it.
    seed
        Seed of the registration's sampling.
    report
        Called after each step.

    Returns
    -------
    One `ArmNuclei` an arm, in their order.

    Raises
    ------
    InputError
        If an arm is missing, named twice or of uneven shapes, channels do not fit the data, or nothing overlaps.
    """
    leading = _checked(arms, reference)
    channels = _channels(channels, atlas, t1w)
    run = Alignment(leading, atlas, channels, store, seed, report)
    motions = {arm.name: run.motion(arm) for arm in arms}
    shared = [(arm, motions[arm.name][0]) for arm in arms]
    alike, left_out = run.agreeing(motions, arms)
    placed, told = run.placement(t1w if channels.startswith("t1w") else None, alike)
    told |= {"left_out": left_out} if left_out else {}
    probabilities = resample(atlas.probabilities, atlas.grid, placed.box, placed.chain)
    near_mm = positions(placed.box)[probabilities.amax(0) > 0]
    if not len(near_mm):
        raise InputError(f"atlas {atlas.name}: no label lies in the brain after registration; check mask and atlas")
    found, family = [], _Placed(alike, atlas, placed.chain, near_mm, like_paper)
    for arm, motion in shared:
        account = motions[arm.name][1] | {"placement": told} | _cover(arm, motion, atlas, probabilities, placed.box)
        there, target = (motion, leading) if like_paper else (Linear(np.eye(4)), arm)
        found.append(_arm(arm, target, there, motion, family, account))
    return found


def measure_arm(
    nuclei: ArmNuclei,
    names: Mapping[int, tuple[str, str]],
    *,
    participant: str,
    weighting: str = "label",
    errors_ppm: torch.Tensor | None = None,
) -> pd.DataFrame:
    """Region values of one arm inside the common mask, so that all arms measure the same part of a nucleus.

    Parameters
    ----------
    nuclei
        From `locate_nuclei`.
    names
        The atlas's names.
    participant
        For the column ``participant_id``.
    weighting
        One of `nuclei.weighting.WEIGHTINGS`.
    errors_ppm
        Realisations of the error of the arm's map on its own grid [ppm], ``(n, x, y, z)``: they add ``noise_sd_ppb``.
    """
    chi_ppm = nuclei.chi_ppm.masked_fill(~nuclei.common, math.nan)
    table = measure_nuclei(
        chi_ppm, nuclei.probabilities, names, nuclei.grid, participant=participant, arm=nuclei.name, weighting=weighting
    )
    if errors_ppm is None:
        return table
    weights = weights_of(nuclei.probabilities, names, weighting)
    return with_noise_sd(table, _as_measured(errors_ppm, nuclei), chi_ppm, weights, names, nuclei.grid)


def _as_measured(errors_ppm: torch.Tensor, nuclei: ArmNuclei) -> torch.Tensor:
    """The errors on the grid of the labels, less their mean over the common mask, as chi is; zero outside it."""
    own, there = nuclei.resampled or (nuclei.grid, ())
    require_shape(f"a realisation of arm {nuclei.name}", errors_ppm[0], own.shape, "the grid of its map")
    if nuclei.resampled:
        errors_ppm = resample(errors_ppm, own, nuclei.grid, there)
    mean_ppm = errors_ppm[:, nuclei.common].double().mean(1).to(errors_ppm.dtype)
    return torch.where(nuclei.common, errors_ppm - mean_ppm[:, None, None, None], 0.0)


@dataclass(frozen=True)
class _Placed:
    """What all arms share: those that agree and their motion, the atlas, the chain to it, points near its labels."""

    alike: list[tuple[ArmMap, Linear]]
    atlas: Atlas
    chain: Chain
    near_mm: torch.Tensor
    like_paper: bool


def _arm(
    arm: ArmMap, target: ArmMap, there: Linear, motion: Linear, family: _Placed, account: dict[str, Any]
) -> ArmNuclei:
    """Labels, common mask and referenced chi of one arm on the target's grid; ``there`` leads from it to the arm."""
    atlas, like_paper = family.atlas, family.like_paper
    to_reference: Chain = () if like_paper else (motion.inverse,)
    near = family.near_mm if like_paper else motion.move(family.near_mm)
    to_atlas = (*to_reference, *family.chain)
    probabilities = transfer_labels(atlas, to_atlas, target.grid, near)
    own = [] if any(other is arm for other, _ in family.alike) else [(arm, motion)]
    common = torch.ones(target.grid.shape, dtype=torch.bool)
    for other, to_other in (*family.alike, *own):
        moved = (*to_reference, to_other) if other is not target or like_paper else ()
        common &= resample(other.valid[None].float(), other.grid, target.grid, moved)[0] >= 0.5
    if not bool(common.any()):
        raise InputError(f"arm {arm.name}: its valid mask and those of the other arms have no voxel in common")
    chi_ppm, valid, resampled = arm.chi_ppm, arm.valid, None
    if like_paper and arm is not target:
        chi_ppm = resample((chi_ppm * valid)[None], arm.grid, target.grid, (there,))[0]
        valid = resample(valid[None].float(), arm.grid, target.grid, (there,))[0] >= 0.5
        resampled = (arm.grid, (there,))
        account |= {"resampled": f"susceptibility to the grid of {target.name}, trilinear"}
    mean_ppm = float(chi_ppm[common].double().mean())
    referenced = torch.where(valid, chi_ppm - mean_ppm, 0.0)
    account |= {"common_voxels": int(common.sum()), "reference_ppm": mean_ppm}
    labels = labels_of(probabilities, atlas.names)
    template = resample((atlas.template * atlas.brain)[None], atlas.grid, target.grid, to_atlas)[0]
    maps = (referenced, labels, probabilities, common, mean_ppm, account, template)
    return ArmNuclei(arm.name, target.grid, *maps, resampled)


def _checked(arms: Sequence[ArmMap], reference: str) -> ArmMap:
    names = [arm.name for arm in arms]
    if len(set(names)) != len(names):
        raise InputError(f"arms are named twice: {', '.join(names)}; each needs a name of its own")
    if reference not in names:
        raise InputError(f"the reference arm '{reference}' is not among the arms {', '.join(names) or '(none)'}")
    for arm in arms:
        for part in ("magnitude", "chi_ppm"):
            require_shape(f"{part} of arm {arm.name}", getattr(arm, part), arm.grid.shape, "the arm's grid")
        for part in ("brain", "valid"):
            require_mask(getattr(arm, part), arm.grid.shape)
    return arms[names.index(reference)]


def _channels(channels: str, atlas: Atlas, t1w: object) -> str:
    require_choice("channels", channels, CHANNELS)
    if channels == "auto":
        image = "magnitude" if t1w is None else "t1w"
        return image if atlas.chi_ppm is None else f"{image}+chi"
    if channels.startswith("t1w") and t1w is None:
        raise InputError(f"channels {channels} need a T1-weighted image; give one, or choose magnitude")
    return channels


def _cover(arm: ArmMap, motion: Linear, atlas: Atlas, probabilities: torch.Tensor, box: Grid) -> dict[str, Any]:
    seen, valid = coverage(probabilities, box, arm.valid, arm.grid, (motion,))
    keys = [f"{roi}_{side}" for roi, side in atlas.names.values()]
    told = {
        key: {"field_of_view": round(float(a), 4), "valid": round(float(b), 4)}
        for key, a, b in zip(keys, seen, valid, strict=True)
    }
    low = [f"{key} {parts['valid']:.0%}" for key, parts in told.items() if parts["valid"] < LOW_COVERAGE]
    if low:
        warnings.warn(f"arm {arm.name}: nuclei partly outside the valid mask: {', '.join(low)}", stacklevel=3)
    return {"coverage": told}


def small_labels(nuclei: ArmNuclei, names: Mapping[int, tuple[str, str]]) -> str | None:
    """A sentence that names the labels whose mean rests on fewer than `FEW_VOXELS` voxels; None where there is none."""
    counts = torch.bincount(nuclei.labels[nuclei.common].flatten().long(), minlength=max(names) + 1)
    few = [
        f"{roi} {side} {int(counts[number])}" for number, (roi, side) in names.items() if counts[number] < FEW_VOXELS
    ]
    if not few:
        return None
    return (
        f"arm {nuclei.name}: fewer than {FEW_VOXELS} voxels: {', '.join(few)}; "
        "such a mean holds partial volume and depends on where the grid lies"
    )
