"""Atlas to participant: rigid, affine and SyN on the whole brain, then SyN again in a box round the deep nuclei.

Everything is brought onto cubic grids along RAS axes in the participant's space first, so that thick or oblique slices
need no care later; the second stage sees the atlas as the first left it, on 1 mm voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from dlqsm.core.atlas import Atlas
from dlqsm.core.checks import InputError
from dlqsm.core.scan import Grid
from dlqsm.nuclei.registration import Channels, Metric, Stage, register
from dlqsm.nuclei.transforms import IDENTITY, Chain, Linear, isotropic_grid, points_per_axis, positions, resample

COARSE_MM: Final = 3.0
FINE_MM: Final = 1.0
BOX_MARGIN_MM: Final = 5.0
"""Room round the nuclei in the second stage, for what borders them."""
BRAIN_MARGIN_MM: Final = 6.0
LABELLED: Final = 0.05
"""Probability from which a voxel of the atlas counts as part of the deep nuclei's box."""
CHI_WINDOW_PPM: Final = (-0.1, 0.25)
"""Susceptibility that tells nuclei from what surrounds them; veins and the rim of the mask are cut off at its ends."""
CHI_WEIGHT: Final = 3.0
"""Weight of the susceptibility against the image in the second stage: it alone shows the small nuclei sharply. On three
virtual heads (not those of the benchmark) Dice of SNc rose from 0.33 over 0.45 to 0.68 with 0.4, 1 and 3."""
_MI: Final = (Metric("MI", sampled=0.3),)
WHOLE: Final = (
    Stage("Rigid[0.1]", _MI, (200, 100), (2, 1), (1.0, 0.0)),
    Stage("Affine[0.1]", _MI, (200, 100), (2, 1), (1.0, 0.0)),
    Stage("SyN[0.2,3,0]", (Metric("CC", parameter=2),), (50, 20), (2, 1), (1.0, 0.0)),
)
"""Stages on the brain at `COARSE_MM`, on the first channel."""
WHOLE_WITH_CHI: Final = (
    *WHOLE[:2],
    replace(WHOLE[2], metrics=(Metric("CC", parameter=2), Metric("CC", channel=1, parameter=2))),
)
"""The same with susceptibility in SyN. On one virtual head (not of the benchmark) whose magnitude alone misled it, Dice
of GPi rose from 0.41 to 0.90; on another, where it did not, it fell from 0.87 to 0.81."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A volume, its grid, and the chain from the common space's points to its own."""

    volume: torch.Tensor
    grid: Grid
    chain: Chain = IDENTITY

    def on(self, target: Grid) -> torch.Tensor:
        """The picture on a grid in the common space, averaged over the target's voxels where these are larger."""
        coarser = min(target.voxel_size_mm) > min(self.grid.voxel_size_mm)
        per_axis = points_per_axis(target, self.grid) if coarser else (1, 1, 1)
        return resample(self.volume[None].float(), self.grid, target, self.chain, per_axis=per_axis)[0]


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where the atlas lies in a participant.

    Parameters
    ----------
    chain
        Takes points of the participant's space to the atlas's.
    box
        Cubic grid in the participant's space that holds all nuclei.
    correlation_before, correlation_after
        Local correlation of picture and template in the box, after the affine stage and in the end: see
        `local_correlation`.
    """

    chain: Chain
    box: Grid
    correlation_before: float
    correlation_after: float


def place_atlas(
    image: Picture,
    chi_ppm: Sequence[Picture],
    brain: Picture,
    atlas: Atlas,
    *,
    chi_throughout: bool = False,
    chi_weight: float = CHI_WEIGHT,
    seed: int = 0,
) -> Placement:
    """Register an atlas to a participant.

    Parameters
    ----------
    image
        T1-weighted image, or magnitude.
    chi_ppm
        Susceptibility [ppm] of each scan, zero where not known: their mean is a second channel in the box of the
        nuclei; none for no such channel. Labels that follow the noise of one scan alone lie better in that scan than in
        others.
    brain
        Brain mask, 1 inside.
    atlas
        Template, labels and, where ``chi_ppm`` is given, susceptibility.
    chi_throughout
        Use it in SyN on the whole brain too: for a magnitude image, whose contrast is unlike the template's.
    chi_weight
        Weight of the second channel relative to the first.
    seed
        Seed of the metric's sampling.

    Raises
    ------
    InputError
        If the brain mask is empty, the atlas lacks susceptibility that is asked for, or nothing overlaps.
    """
    first, second = _atlas_pictures(atlas, with_chi=bool(chi_ppm))
    both = (chi_ppm, second) if chi_throughout and second is not None else None
    whole = _place_whole(image, brain, first, both, seed)
    affine = whole[-1]
    assert isinstance(affine, Linear)
    labelled = positions(atlas.grid)[atlas.probabilities.amax(0) > LABELLED]
    box = isotropic_grid(affine.inverse.move(labelled), FINE_MM, BOX_MARGIN_MM)
    inside = brain.on(box) > 0.5
    fixed = [_normalised(image.on(box), inside)]
    moving = [_normalised(_moved(first, whole).on(box), inside)]
    before = local_correlation(fixed[0], _moved(first, (affine,)).on(box), inside)
    if second is not None:
        fixed.append(_mean_on(box, chi_ppm))
        moving.append(_moved(second, whole).on(box).clamp(*CHI_WINDOW_PPM))
    found = register(
        Channels(torch.stack(fixed), box),
        Channels(torch.stack(moving), box),
        _box_stages(len(fixed), chi_weight),
        seed=seed,
    )
    # The linear part of this stage is the identity it began with.
    chain = (*found[:-1], *whole)
    after = local_correlation(fixed[0], _moved(first, chain).on(box), inside)
    return Placement(chain, box, before, after)


def settings() -> dict[str, str]:
    """What the placement depends on besides its input."""
    edges = (COARSE_MM, FINE_MM, BOX_MARGIN_MM, BRAIN_MARGIN_MM, LABELLED, CHI_WINDOW_PPM)
    return {"whole": repr((WHOLE, WHOLE_WITH_CHI)), "box": repr(_box_stages(2, CHI_WEIGHT)), "lengths": repr(edges)}


def local_correlation(first: torch.Tensor, second: torch.Tensor, inside: torch.Tensor, *, width: int = 9) -> float:
    """Mean absolute correlation coefficient of two volumes over cubic windows of ``width`` voxels centred in a mask.

    Its sign is left out, since contrasts may be inverted; windows without contrast count as zero.
    """
    a, b = (v.double().numpy() for v in (first, second))

    def mean(values: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(ndimage.uniform_filter(values, width))

    covariance = mean(a * b) - mean(a) * mean(b)
    variances = (mean(a * a) - mean(a) ** 2).clip(0.0) * (mean(b * b) - mean(b) ** 2).clip(0.0)
    floor = 1e-6 * a.var() * b.var() + np.finfo(float).tiny
    chosen = inside.numpy()
    return float((np.abs(covariance) / np.sqrt(variances + floor))[chosen].mean()) if chosen.any() else 0.0


def filled(brain: torch.Tensor, *, closing: int = 2) -> torch.Tensor:
    """A brain mask without holes and narrow gaps."""
    closed = ndimage.binary_closing(np.pad(brain.numpy(), closing), iterations=closing)
    whole = ndimage.binary_fill_holes(closed)
    return torch.from_numpy(whole[tuple(slice(closing, -closing) for _ in range(3))])


def _atlas_pictures(atlas: Atlas, *, with_chi: bool) -> tuple[Picture, Picture | None]:
    if with_chi and atlas.chi_ppm is None:
        raise InputError(f"atlas {atlas.name} has no susceptibility; choose the channels t1w or magnitude")
    second = Picture(atlas.chi_ppm, atlas.grid) if with_chi and atlas.chi_ppm is not None else None
    return Picture(atlas.template * atlas.brain, atlas.grid), second


def _place_whole(
    image: Picture, brain: Picture, template: Picture, chi: tuple[Sequence[Picture], Picture] | None, seed: int
) -> Chain:
    """Rigid, affine and SyN on the brain, both images without their skulls; ``chi``: the scans' and the atlas's."""
    own = _inside(brain)
    if not len(own):
        raise InputError("the brain mask is empty; the atlas cannot be placed")
    theirs = _inside(template)
    coarse = isotropic_grid(own, COARSE_MM, BRAIN_MARGIN_MM)
    mask = filled(brain.on(coarse) > 0.5)
    template_grid = isotropic_grid(theirs, COARSE_MM, BRAIN_MARGIN_MM)
    stripped = template.on(template_grid)
    fixed, moving = [_normalised(image.on(coarse), mask) * mask], [_normalised(stripped, stripped > 0)]
    if chi is not None:
        fixed.append(_mean_on(coarse, chi[0]))
        moving.append(chi[1].on(template_grid).clamp(*CHI_WINDOW_PPM))
    start = np.eye(4)
    start[:3, 3] = (theirs.double().mean(0) - own.double().mean(0)).numpy()
    # One voxel beyond the brain, so that its edge counts.
    counted = torch.from_numpy(ndimage.binary_dilation(mask.numpy()))
    return register(
        Channels(torch.stack(fixed), coarse, counted),
        Channels(torch.stack(moving), template_grid),
        WHOLE if chi is None else WHOLE_WITH_CHI, start=Linear(start), seed=seed,
    )  # fmt: skip


def _box_stages(n_channels: int, chi_weight: float) -> Sequence[Stage]:
    weights = (1.0, chi_weight)[:n_channels]
    metrics = tuple(Metric("CC", channel, weight, 2) for channel, weight in enumerate(weights))
    # The field is found on twice the voxel edge: at full resolution it followed noise (Dice of SNc 0.36 against 0.53).
    return (Stage("SyN[0.2,3,0]", metrics, (60, 40), (4, 2), (2.0, 1.0)),)


def _mean_on(target: Grid, chi_ppm: Sequence[Picture]) -> torch.Tensor:
    """Mean susceptibility of the scans within the window, each interpolated once."""
    return torch.stack([picture.on(target).clamp(*CHI_WINDOW_PPM) for picture in chi_ppm]).mean(0)


def _moved(picture: Picture, chain: Chain) -> Picture:
    return Picture(picture.volume, picture.grid, (*chain, *picture.chain))


def _inside(picture: Picture) -> torch.Tensor:
    return positions(picture.grid)[picture.volume > 0]


def _normalised(volume: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Intensities in units of the 99th percentile inside, bright outliers cut."""
    values = volume[inside]
    top = float(np.percentile(values.numpy(), 99.0)) if len(values) else 1.0
    return (volume / (top or 1.0)).clamp(0.0, 1.25)
