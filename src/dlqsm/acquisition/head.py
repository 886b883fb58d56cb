"""The virtual head: one participant's anatomy, and its tissue on any grid in scanner space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from dlqsm.acquisition.deformation import Volumes, invert, pull_towards, random_displacement
from dlqsm.acquisition.fractions import corrected_fractions, sharpened_fractions
from dlqsm.acquisition.nuclei_shapes import ventricle_share
from dlqsm.acquisition.painting import (
    PARENCHYMA,
    PlacedStructure,
    classify,
    mixed_values,
    paint_structures,
    place_structures,
    value_table,
)
from dlqsm.acquisition.participants import Participant, Pose, draw_participants
from dlqsm.acquisition.surroundings import MENINGES_MM, make_surroundings
from dlqsm.acquisition.tissue import TISSUE_NUMBERS, TissueValues, draw_tissue_values
from dlqsm.acquisition.veins import Tubes, medullary_veins, named_veins, paint_tubes, superficial_veins
from dlqsm.core.anatomy import Anatomy
from dlqsm.core.scan import Affine, Grid, Vector

__all__ = [
    "Head",
    "Participant",
    "Pose",
    "TissueMaps",
    "draw_displacement",
    "draw_participants",
    "make_head",
    "tissue_maps",
]

ISOCENTRE_MNI_MM: Final[Vector] = (0.0, -17.0, 7.0)
"""MNI place at the isocentre: the middle of the brain's box, with the deep nuclei within 2 cm."""
TEMPLATE_AGE_YEARS: Final = 25.0
"""Age of the persons behind the MNI152 template, where the ventricles are left as they are."""
VENTRICLE_GROWTH_MM_PER_YEAR: Final = 0.045
"""Movement of the ventricles' walls, which nearly doubles their volume from 20 to 75 years."""
DEFORMATION_GRID: Final = Grid((56, 71, 61), (4.0, 4.0, 4.0), origin_mm=(-110.0, -150.0, -130.0))
SLAB_VOXELS: Final = 2_000_000
SCALES: Final = {"male": (0.925, 0.025), "female": (0.895, 0.025)}
"""Mean and SD of head size relative to MNI152, which is larger than life."""


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """One participant's head.

    Parameters
    ----------
    anatomy
        Template that it is made from.
    participant
        Whose head it is.
    scale
        Size relative to MNI152.
    displacement
        u [mm]: the scaled head position p shows the template at p + u(p).
    surroundings
        Signed distances of `surroundings.CHANNELS`.
    tissue_fractions
        Grey matter, white matter and texture (zero mean, SD 1) on the template's grid.
    veins
        Capsules in scaled head positions.
    values
        Tissue values of this person by tissue name.
    """

    anatomy: Anatomy
    participant: Participant
    scale: float
    displacement: Volumes
    surroundings: Volumes
    tissue_fractions: Volumes
    veins: Tubes
    values: dict[str, TissueValues]

    @property
    def to_head(self) -> Affine:
        """Scaled template position [mm] to head position about the isocentre [mm]: h = s (p - p0)."""
        matrix = np.diag([self.scale, self.scale, self.scale, 1.0])
        matrix[:3, 3] = -self.scale * np.asarray(ISOCENTRE_MNI_MM)
        return matrix


@dataclass(frozen=True, slots=True, eq=False)
class TissueMaps:
    """Tissue on a grid; tensors of ``grid.shape``.

    Parameters
    ----------
    chi_ppm
        Susceptibility relative to soft tissue [ppm]; air outside and inside the head, and bone, included.
    r2star_hz, t1_s, proton_density
        R2* [1/s], T1 [s], proton density with water = 1.
    labels
        Nuclei by `core.labels.label_table`, uint8, 0 elsewhere.
    tissue_labels
        Tissue that fills most of the voxel by `tissue.TISSUE_NUMBERS`, uint8.
    brain
        Whether the voxel lies inside the meninges: brain and its CSF.
    """

    chi_ppm: torch.Tensor
    r2star_hz: torch.Tensor
    t1_s: torch.Tensor
    proton_density: torch.Tensor
    labels: torch.Tensor
    tissue_labels: torch.Tensor
    brain: torch.Tensor


def make_head(anatomy: Anatomy, participant: Participant) -> Head:
    """Draw one participant's head: size, deformation, ventricles, sinuses, veins and tissue values.

    Ventricles grow with age from the template's (`TEMPLATE_AGE_YEARS`), with a spread between persons.

    Parameters
    ----------
    anatomy
        MNI template.
    participant
        Age, sex and seed; the same participant gives the same head.
    """
    # One stream for each part, so that a change in one leaves the others as they were.
    parts = [np.random.default_rng([participant.seed, part]) for part in range(5)]
    mean, sd = SCALES[participant.sex]
    scale = float(np.clip(parts[0].normal(mean, sd), mean - 2.5 * sd, mean + 2.5 * sd))
    surroundings = make_surroundings(anatomy, sinus_size_mm=float(np.clip(parts[0].normal(0.0, 1.0), -2.0, 2.0)))
    displacement = draw_displacement(participant.age_years, parts[1])
    texture = _draw_texture(anatomy, parts[2])
    fractions = Volumes(torch.from_numpy(np.stack([*corrected_fractions(anatomy), texture])), anatomy.grid)
    veins = np.concatenate([named_veins(), superficial_veins(surroundings, parts[3]), medullary_veins(parts[3])])
    for start in (0, 3):
        veins[:, start : start + 3] = invert(displacement, veins[:, start : start + 3])
    values = draw_tissue_values(participant.age_years, parts[4])
    return Head(anatomy, participant, scale, displacement, surroundings, fractions, veins, values)


def draw_displacement(age_years: float, rng: np.random.Generator) -> Volumes:
    """Draw how a person deviates from the template: smooth random displacement, and ventricles that grow with age."""
    own_mm = float(np.clip(rng.normal(0.0, 0.4), -0.8, 0.8))
    growth_mm = VENTRICLE_GROWTH_MM_PER_YEAR * (age_years - TEMPLATE_AGE_YEARS) + own_mm
    random = random_displacement(DEFORMATION_GRID, rng)
    ventricles = pull_towards(ventricle_share(DEFORMATION_GRID), DEFORMATION_GRID, largest_mm=growth_mm)
    return Volumes(torch.from_numpy(random + ventricles), DEFORMATION_GRID)


def tissue_maps(head: Head, grid: Grid, pose: Pose) -> TissueMaps:
    """Evaluate a head on a grid in scanner space.

    Each voxel centre goes through scanner mm, head mm (inverse pose), scaled mm and, by the deformation, MNI mm, where
    template and implicit shapes are read. Works through slabs along x, so that memory beside the result is bounded.

    Parameters
    ----------
    head
        From `make_head`.
    grid
        Any grid in scanner space, oblique ones included; RAS, isocentre at zero.
    pose
        Rigid motion of the head; ``Pose()`` leaves the middle of the brain at the isocentre.

    Returns
    -------
    `TissueMaps` on the CPU.
    """
    to_scanner = pose.matrix @ head.to_head
    to_template = np.linalg.inv(to_scanner) @ grid.affine
    veins = torch.zeros(grid.shape)
    paint_tubes(_placed_veins(head, to_scanner), grid, veins.numpy())
    placed = place_structures(head.displacement, to_template)
    maps = _empty_maps(grid)
    for first, last in _slabs(grid):
        position = _positions(to_template, grid.shape, first, last)
        position += head.displacement.sample(position).movedim(0, -1)
        _fill_slab(head, placed, position, first, veins[first:last], maps)
    return maps


def _draw_texture(anatomy: Anatomy, rng: np.random.Generator, *, width_mm: float = 3.0) -> NDArray[np.float32]:
    """Smooth noise of zero mean and SD 1 on the template's grid."""
    noise = rng.standard_normal(anatomy.grid.shape, dtype=np.float32)
    smooth = ndimage.gaussian_filter(noise, width_mm, mode="wrap")
    texture: NDArray[np.float32] = smooth / smooth.std()
    return texture


def _placed_veins(head: Head, to_scanner: Affine) -> Tubes:
    """Veins in scanner mm, their radii scaled with the head."""
    tubes = head.veins.copy()
    for start in (0, 3):
        tubes[:, start : start + 3] = tubes[:, start : start + 3] @ to_scanner[:3, :3].T + to_scanner[:3, 3]
    tubes[:, 6:] *= head.scale
    return tubes


def _slabs(grid: Grid) -> Iterator[tuple[int, int]]:
    planes = max(1, SLAB_VOXELS // (grid.shape[1] * grid.shape[2]))
    for first in range(0, grid.shape[0], planes):
        yield first, min(first + planes, grid.shape[0])


def _positions(to_template: Affine, shape: tuple[int, int, int], first: int, last: int) -> torch.Tensor:
    """Scaled template positions ``(x, y, z, 3)`` of the voxels of planes ``first`` to ``last - 1``."""
    matrix = torch.from_numpy(to_template)
    ticks = (torch.arange(first, last), torch.arange(shape[1]), torch.arange(shape[2]))
    along = [(tick[:, None] * matrix[:3, axis]).float() for axis, tick in enumerate(ticks)]
    return along[0][:, None, None] + along[1][None, :, None] + along[2][None, None] + matrix[:3, 3].float()


def _empty_maps(grid: Grid) -> TissueMaps:
    chi_ppm, r2star_hz, t1_s, proton_density = (torch.empty(grid.shape) for _ in range(4))
    labels, tissue_labels = (torch.empty(grid.shape, dtype=torch.uint8) for _ in range(2))
    brain = torch.empty(grid.shape, dtype=torch.bool)
    return TissueMaps(chi_ppm, r2star_hz, t1_s, proton_density, labels, tissue_labels, brain)


def _fill_slab(
    head: Head, placed: list[PlacedStructure], position: torch.Tensor, first: int, vein: torch.Tensor, maps: TissueMaps
) -> None:
    """Evaluate one slab at its MNI positions and write it into ``maps``."""
    distances = head.surroundings.sample(position)
    tissue, brain = classify(distances), distances[0] < MENINGES_MM
    structures, labels = torch.zeros_like(tissue), torch.zeros_like(tissue)
    paint_structures(placed, position, first, structures, labels)
    structures[~brain], labels[~brain] = 0, 0
    fractions = head.tissue_fractions.sample(position[brain])
    shares = sharpened_fractions(fractions)
    inside = structures[brain]
    tissue[brain] = torch.where(inside > 0, inside, PARENCHYMA[shares.argmax(0)])
    values = value_table(head.values)[:, tissue.long()]
    mixed = mixed_values(head.values, shares, fractions[2], inside)
    share = torch.where(labels[brain] > 0, 0.0, vein[brain])
    values[:, brain] = torch.lerp(mixed, value_table(head.values)[:, TISSUE_NUMBERS["vein"], None], share)
    tissue[brain] = torch.where(share > 0.5, TISSUE_NUMBERS["vein"], tissue[brain])
    chosen = slice(first, first + len(position))
    maps.chi_ppm[chosen], maps.r2star_hz[chosen] = values[0], values[1]
    maps.t1_s[chosen], maps.proton_density[chosen] = 1.0 / values[2], values[3]
    maps.labels[chosen], maps.tissue_labels[chosen], maps.brain[chosen] = labels, tissue, brain
