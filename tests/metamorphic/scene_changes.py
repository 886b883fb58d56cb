"""Changes of a scene whose effect on the maps is known: of its arrays with their affine, and of its signal."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from analytic_scene import Scene
from torch.nn import functional

from dlqsm.core.scan import Grid, Scan

Change = Callable[[Scene], Scene]
Back = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Turn:
    """New axis a is old axis ``order[a]``, read backwards where ``flips[a]``: the same world, stored otherwise."""

    order: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    @property
    def name(self) -> str:
        """Such as ``+y-x+z``: what the new axes are made of."""
        return "".join("+-"[flip] + "xyz"[axis] for axis, flip in zip(self.order, self.flips, strict=True))

    def volume(self, volume: torch.Tensor) -> torch.Tensor:
        """Turn the last three axes."""
        lead = tuple(range(volume.ndim - 3))
        turned = volume.permute(*lead, *(len(lead) + axis for axis in self.order))
        return turned.flip([len(lead) + a for a, flip in enumerate(self.flips) if flip]).contiguous()

    def back(self, volume: torch.Tensor) -> torch.Tensor:
        """Undo `volume`."""
        lead = tuple(range(volume.ndim - 3))
        unflipped = volume.flip([len(lead) + a for a, flip in enumerate(self.flips) if flip])
        return unflipped.permute(*lead, *(len(lead) + self.order.index(axis) for axis in range(3))).contiguous()

    def grid(self, grid: Grid) -> Grid:
        """The grid whose voxels stay where they are in the scanner."""
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1.0
        for new, (old, flip) in enumerate(zip(self.order, self.flips, strict=True)):
            matrix[old, new] = -1.0 if flip else 1.0
            matrix[old, 3] = grid.shape[old] - 1 if flip else 0.0
        nx, ny, nz = (grid.shape[axis] for axis in self.order)
        return Grid.from_affine((nx, ny, nz), grid.affine @ matrix)

    def __call__(self, scene: Scene) -> Scene:
        return on_grid(scene, self.grid(scene.scan.grid), self.volume)


TURNS = tuple(
    Turn(order, flips)
    for order in itertools.permutations((0, 1, 2))
    for flips in itertools.product((False, True), repeat=3)
    if (order, flips) != ((0, 1, 2), (False, False, False))
)
"""All 47 ways to store a volume otherwise: flips, permutations, rotations by 90 degrees, and their mirror images."""
FEW_TURNS = (
    Turn((0, 1, 2), (True, False, False)),
    Turn((0, 1, 2), (False, True, False)),
    Turn((0, 1, 2), (False, False, True)),
    Turn((1, 0, 2), (False, False, False)),
    Turn((2, 1, 0), (False, False, False)),
    Turn((0, 2, 1), (False, True, False)),
    Turn((2, 1, 0), (False, False, True)),
    Turn((1, 0, 2), (True, False, False)),
    Turn((1, 2, 0), (True, True, True)),
)
"""A flip and an exchange of each kind, a rotation by 90 degrees about each axis, and a cyclic one with all flips."""


def on_grid(scene: Scene, grid: Grid, moved: Back) -> Scene:
    """The scene with its volumes moved to another grid; B0 follows from the grid."""
    told = scene.scan
    return Scene(
        *(moved(v) for v in (scene.magnitude, scene.phase_rad, scene.mask, scene.chi_ppm, scene.air)),
        Scan(grid, told.echo_times_s, told.field_strength_t),
        None if scene.noise_sd is None or scene.noise_sd.ndim == 0 else moved(scene.noise_sd),
    )


def with_known_noise(scene: Scene, noise_sd: float) -> Scene:
    """The scene whose noise is told, so that nothing outside the mask can count through an estimate."""
    return replace(scene, noise_sd=torch.full_like(scene.chi_ppm, noise_sd))


def scaled(factor: float) -> Change:
    """Signal in another unit."""
    return lambda scene: replace(scene, magnitude=scene.magnitude * factor)


def with_phase(offset_rad: Callable[[Scene], torch.Tensor]) -> Change:
    """A phase added that is the same in all echoes; it is wrapped again."""
    return lambda scene: scene.with_images(
        scene.images * torch.polar(torch.ones_like(offset_rad(scene)), offset_rad(scene))
    )


def one_phase(scene: Scene) -> torch.Tensor:
    """Of all coils and voxels."""
    return torch.full_like(scene.chi_ppm, 2.1)


def phase_of_each_coil(scene: Scene) -> torch.Tensor:
    """Other for every coil and voxel, ``(coil, x, y, z)``."""
    generator = torch.Generator().manual_seed(7)
    return 6.3 * torch.rand(scene.magnitude.shape[1:], generator=generator, dtype=scene.magnitude.dtype)


def turns_added(scene: Scene) -> Scene:
    """The phase as 0 to 2 pi in odd echoes, three turns up in even ones."""
    phase = scene.phase_rad.clone()
    phase[0::2] = torch.where(phase[0::2] < 0, phase[0::2] + 2 * torch.pi, phase[0::2])
    phase[1::2] += 6 * torch.pi
    return replace(scene, phase_rad=phase)


def coils_reversed(scene: Scene) -> Scene:
    """Coils in another order."""
    return replace(scene, magnitude=scene.magnitude.flip(1), phase_rad=scene.phase_rad.flip(1))


def coils_mixed(scene: Scene) -> Scene:
    """A unitary mixture of the coils, as a compression to as many virtual coils makes it."""
    generator = torch.Generator().manual_seed(3)
    n = scene.magnitude.shape[1]
    parts = torch.randn((2, n, n), generator=generator, dtype=torch.float64)
    unitary = torch.linalg.qr(torch.complex(parts[0], parts[1]))[0].to(scene.images)
    return scene.with_images(torch.einsum("ij,ejxyz->eixyz", unitary, scene.images))


def conjugated(scene: Scene) -> Scene:
    """The phase of a scanner that counts it the other way round."""
    return replace(scene, phase_rad=-scene.phase_rad)


def b0_reversed(scene: Scene) -> Scene:
    """B0 along -z: the field of a dipole does not know which end is north."""
    told = scene.scan
    against = tuple(-b for b in told.b0_direction)
    return replace(scene, scan=Scan(told.grid, told.echo_times_s, told.field_strength_t, against))


def other_field(factor: float) -> Change:
    """A stronger magnet with echoes as much earlier, hence the same images."""

    def change(scene: Scene) -> Scene:
        told = scene.scan
        times = tuple(t / factor for t in told.echo_times_s)
        return replace(scene, scan=Scan(told.grid, times, (told.field_strength_t or 0.0) * factor))

    return change


def larger_voxels(factor: float) -> Change:
    """The same images of a larger head; the dipole has no length of its own."""

    def change(scene: Scene) -> Scene:
        told = scene.scan
        matrix = told.grid.affine
        matrix[:3, :3] *= factor
        grid = Grid.from_affine(told.grid.shape, matrix)
        return replace(scene, scan=Scan(grid, told.echo_times_s, told.field_strength_t))

    return change


def moved(shift: tuple[int, int, int]) -> tuple[Change, Back]:
    """The head as many voxels further in the array, the array as much back in the scanner; and the way back.

    What leaves the array at one face comes in at the other, which is air as well.
    """

    def change(scene: Scene) -> Scene:
        matrix = scene.scan.grid.affine
        matrix[:3, 3] -= matrix[:3, :3] @ np.array(shift)
        grid = Grid.from_affine(scene.scan.grid.shape, matrix)
        return on_grid(scene, grid, lambda volume: volume.roll(shift, (-3, -2, -1)))

    return change, lambda volume: volume.roll([-s for s in shift], (-3, -2, -1))


def padded(before: tuple[int, int, int], after: tuple[int, int, int]) -> tuple[Change, Back]:
    """Planes of air without signal round the array; and the way back."""
    margins = [n for pair in zip(reversed(before), reversed(after), strict=True) for n in pair]

    def wider(volume: torch.Tensor) -> torch.Tensor:
        return functional.pad(volume, margins)

    def change(scene: Scene) -> Scene:
        matrix, shape = scene.scan.grid.affine, scene.scan.grid.shape
        matrix[:3, 3] -= matrix[:3, :3] @ np.array(before)
        nx, ny, nz = (b + n + a for b, n, a in zip(before, shape, after, strict=True))
        return on_grid(scene, Grid.from_affine((nx, ny, nz), matrix), wider)

    def back(volume: torch.Tensor) -> torch.Tensor:
        inner = tuple(slice(b, n - a) for b, a, n in zip(before, after, volume.shape[-3:], strict=True))
        return volume[(..., *inner)]

    return change, back


def with_a_second_piece(scene: Scene) -> Scene:
    """A mask with a small piece apart from the brain, in a corner."""
    mask = scene.mask.clone()
    mask[:2, :2, :2] = True
    return replace(scene, mask=mask)


def with_field_hz(field_hz: Callable[[Scene], torch.Tensor]) -> Change:
    """The field of sources outside added to the phase of every echo."""

    def change(scene: Scene) -> Scene:
        times = torch.tensor(scene.scan.echo_times_s, dtype=scene.chi_ppm.dtype)[:, None, None, None]
        turned = torch.polar(torch.ones_like(scene.magnitude[:, 0]), 2 * torch.pi * field_hz(scene) * times)
        return scene.with_images(scene.images * turned[:, None])

    return change


def spoilt_outside(scene: Scene) -> Scene:
    """Bright nonsense in the corners of the array, far from the mask."""
    magnitude, phase = scene.magnitude.clone(), scene.phase_rad.clone()
    magnitude[..., :2, :2, :2], phase[..., -2:, -2:, -2:] = 50.0, 1.0
    return replace(scene, magnitude=magnitude, phase_rad=phase)
