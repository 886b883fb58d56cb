"""Registration by ANTs: images in, chains of transforms out.

ANTs works in LPS millimetres and on files; here everything is RAS and in memory, and the files it needs live in a
temporary folder that is removed.

References
----------
Avants et al., Med Image Anal 12:26 (2008), doi:10.1016/j.media.2007.06.004 (SyN);
Mattes et al., IEEE Trans Med Imaging 22:120 (2003), doi:10.1109/TMI.2003.809072 (mutual information).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import ants  # type: ignore[import-untyped]
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from dlqsm.core.checks import InputError
from dlqsm.core.scan import Affine, Grid
from dlqsm.nuclei.itk_whole import require_whole
from dlqsm.nuclei.transforms import Chain, Linear, Warp

# ITK reads this once, at its first image. Several threads sum in another order each time: values of a resumed study
# differed by up to 0.7 ppb from those of an undisturbed one.
os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")

ANTS_VERSION: Final = str(ants.__version__)
LPS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])
"""RAS to LPS and back."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What is compared: ``kind`` (``MI`` of Mattes, ``CC`` over windows), channel, weight, bins or window radius."""

    kind: str
    channel: int = 0
    weight: float = 1.0
    parameter: int = 32
    sampled: float = 1.0


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a registration, coarse to fine.

    Parameters
    ----------
    transform
        ``Rigid``, ``Affine`` or ``SyN`` with its step in brackets, as ANTs writes them.
    metrics
        One or more.
    iterations, shrink, smoothing
        For each level: largest number of iterations, shrink factor, Gaussian SD [voxel].
    """

    transform: str
    metrics: tuple[Metric, ...]
    iterations: tuple[int, ...]
    shrink: tuple[int, ...]
    smoothing: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Channels:
    """Images on one grid, ``(channel, x, y, z)``, and where they count."""

    volumes: torch.Tensor
    grid: Grid
    mask: torch.Tensor | None = None


RIGID: Final = (Stage("Rigid[0.1]", (Metric("MI", sampled=0.5),), (200, 100, 50), (4, 2, 1), (2.0, 1.0, 0.0)),)


def register(
    fixed: Channels, moving: Channels, stages: Sequence[Stage], *, start: Linear | None = None, seed: int = 0
) -> Chain:
    """Find the chain that takes fixed points to moving points.

    Parameters
    ----------
    fixed, moving
        Channels to compare, channel by channel; masks say where.
    stages
        What to optimise, in this order.
    start
        Linear map to begin with; identity where None.
    seed
        Seed of the sampling of the metric. On one thread, which is what is used unless the environment says otherwise
        (``ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS``), the same images and seed give the same bits.

    Returns
    -------
    One `Linear` (rigid and affine stages and the start together), then, where there is a SyN stage, preceded by its
    `Warp` in fixed space.

    Raises
    ------
    InputError
        If ANTs gives up, which it does where the images do not overlap.
    """
    with tempfile.TemporaryDirectory(prefix="dlqsm-ants-") as name:
        folder = Path(name)
        prefix = str(folder / "found_")
        try:
            ants.registration(_arguments(fixed, moving, stages, start or Linear(np.eye(4)), seed, folder, prefix), None)
        except RuntimeError as error:
            raise InputError(
                f"the images could not be registered ({error}); check that they show the same head and overlap"
            ) from None
        chain: Chain = (read_linear(Path(f"{prefix}0GenericAffine.mat")),)
        warp = Path(f"{prefix}1Warp.nii.gz")
        return (read_warp(warp), *chain) if warp.is_file() else chain


def rigid(
    fixed: torch.Tensor, fixed_grid: Grid, moving: torch.Tensor, moving_grid: Grid, *,
    mask: torch.Tensor | None = None, start: Linear | None = None, seed: int = 0,
) -> Linear:  # fmt: skip
    """Rigid motion from fixed to moving positions by mutual information of two magnitude-like images."""
    a, b = (Channels(v[None], g, m) for v, g, m in ((fixed, fixed_grid, mask), (moving, moving_grid, None)))
    (found,) = register(a, b, RIGID, start=start, seed=seed)
    assert isinstance(found, Linear)
    return found


def settings() -> dict[str, str]:
    """What the rigid registration between images depends on besides its input."""
    return {"rigid": repr(RIGID)}


def motion_of(linear: Linear, centre_mm: np.ndarray) -> tuple[float, float]:
    """Angle [degree] of a rigid map, and how far it moves a point [mm]."""
    angle = float(np.degrees(Rotation.from_matrix(_nearest_rotation(linear.matrix[:3, :3])).magnitude()))
    moved = linear.matrix @ np.append(centre_mm, 1.0)
    return angle, float(np.linalg.norm(moved[:3] - centre_mm))


def to_ants(volume: torch.Tensor, grid: Grid) -> ants.ANTsImage:
    """An ANTs image of a volume ``(x, y, z)``; RAS becomes LPS."""
    matrix = LPS @ grid.affine
    direction = matrix[:3, :3] / np.asarray(grid.voxel_size_mm)
    array = np.ascontiguousarray(volume.detach().cpu().numpy().astype(np.float32))
    return ants.from_numpy(array, origin=list(matrix[:3, 3]), spacing=list(grid.voxel_size_mm), direction=direction)


def read_linear(path: Path) -> Linear:
    """Read an ITK affine file (LPS) as a RAS matrix."""
    require_whole(path)
    stored = ants.read_transform(str(path))
    values, centre = np.asarray(stored.parameters), np.asarray(stored.fixed_parameters)
    matrix: Affine = np.eye(4)
    matrix[:3, :3] = values[:9].reshape(3, 3)
    # ITK: y = A (x - c) + t + c.
    matrix[:3, 3] = values[9:] + centre - matrix[:3, :3] @ centre
    return Linear(LPS @ matrix @ LPS)


def write_linear(path: Path, linear: Linear) -> None:
    """Write a RAS matrix as an ITK affine file (``.mat``, LPS)."""
    matrix = LPS @ linear.matrix @ LPS
    made = ants.create_ants_transform(transform_type="AffineTransform", dimension=3, precision="double")
    made.set_parameters([*matrix[:3, :3].ravel(), *matrix[:3, 3]])
    made.set_fixed_parameters([0.0, 0.0, 0.0])
    ants.write_transform(made, str(path))
    require_whole(path)


def read_warp(path: Path) -> Warp:
    """Read an ITK displacement field (LPS) in RAS."""
    require_whole(path)
    stored = ants.image_read(str(path))
    vectors = torch.from_numpy(np.moveaxis(stored.numpy(), -1, 0).astype(np.float32))
    vectors[:2] *= -1
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(stored.direction) * np.asarray(stored.spacing)
    matrix[:3, 3] = stored.origin
    x, y, z = (int(n) for n in stored.shape)
    return Warp(vectors.contiguous(), Grid.from_affine((x, y, z), LPS @ matrix))


def write_warp(path: Path, warp: Warp) -> None:
    """Write a displacement field as ITK reads it (LPS, vector NIfTI)."""
    vectors = warp.displacement_mm.clone()
    vectors[:2] *= -1
    plain = to_ants(vectors[0], warp.grid)
    array = np.ascontiguousarray(np.moveaxis(vectors.numpy(), 0, -1))
    keywords = {"origin": plain.origin, "spacing": plain.spacing, "direction": plain.direction, "has_components": True}
    ants.image_write(ants.from_numpy(array, **keywords), str(path))
    require_whole(path)


def _arguments(
    fixed: Channels, moving: Channels, stages: Sequence[Stage], start: Linear, seed: int, folder: Path, prefix: str
) -> list[str]:
    files = []
    for index, (a, b) in enumerate(zip(fixed.volumes, moving.volumes, strict=True)):
        files.append((str(folder / f"fixed{index}.nii"), str(folder / f"moving{index}.nii")))
        ants.image_write(to_ants(a, fixed.grid), files[-1][0])
        ants.image_write(to_ants(b, moving.grid), files[-1][1])
    masks = []
    for name, channels in (("fixed", fixed), ("moving", moving)):
        masks.append("NA" if channels.mask is None else str(folder / f"{name}_mask.nii"))
        if channels.mask is not None:
            ants.image_write(to_ants(channels.mask, channels.grid), masks[-1])
    write_linear(folder / "start.mat", start)
    for file in (*(name for pair in files for name in pair), *(name for name in masks if name != "NA")):
        require_whole(Path(file))
    words = ["--dimensionality", "3", "--float", "1", "--random-seed", str(seed + 1), "--output", prefix]
    words += ["--collapse-output-transforms", "1", "--initial-moving-transform", str(folder / "start.mat")]
    for stage in stages:
        words += ["--transform", stage.transform]
        for metric in stage.metrics:
            a, b = files[metric.channel]
            sampling = "None" if metric.sampled == 1.0 else f"Regular,{metric.sampled}"
            words += ["--metric", f"{metric.kind}[{a},{b},{metric.weight},{metric.parameter},{sampling}]"]
        words += ["--convergence", f"[{_levels(stage.iterations)},1e-6,10]"]
        words += ["--shrink-factors", _levels(stage.shrink), "--smoothing-sigmas", f"{_levels(stage.smoothing)}vox"]
        words += ["--masks", f"[{','.join(masks)}]"]
    return words


def _levels(values: Sequence[float]) -> str:
    return "x".join(f"{v:g}" for v in values)


def _nearest_rotation(matrix: np.ndarray) -> np.ndarray:
    u, _, vt = np.linalg.svd(matrix)
    return np.asarray(u @ vt)
