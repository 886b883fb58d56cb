"""Every step of the line as a call that gives one map, on the small scene: what is repeated, threaded, and moved."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from analytic_scene import Scene, make_scene
from raw_scene import raw_of

from dlqsm.config import TABLES, QsmConfig
from dlqsm.core.checks import ConvergenceWarning
from dlqsm.core.dipole import susceptibility_to_field
from dlqsm.core.lags import LagSums
from dlqsm.core.raw import MemoryRaw
from dlqsm.core.units import TWO_PI
from dlqsm.pipeline.susceptibility import map_susceptibility, sums_of_images
from dlqsm.qsm.mask import brain_mask
from dlqsm.qsm.mdi import wrap
from dlqsm.qsm.noise import estimate_noise_sd
from dlqsm.qsm.relaxation import r2star
from dlqsm.reconstruction.reconstruct import reconstruct

FINE: Final = {"shape": (38, 35, 30), "voxel_mm": (1.4, 1.55, 1.75)}
"""Of the scene that is large enough for threads to share the sums over it."""


@dataclass(frozen=True)
class Problem:
    """Input of every step in single precision, on one device."""

    scene: Scene
    sums: LagSums
    total_ppm: torch.Tensor
    local_ppm: torch.Tensor
    noise_ppm: torch.Tensor
    raw: MemoryRaw

    @property
    def magnitude(self) -> torch.Tensor:
        """Root of the sum of squares over coils and echoes."""
        return self.sums.power.sum(0).sqrt()


@functools.cache
def problem(fine: bool = False) -> Problem:
    """The problem on the CPU; its fields are given, so that no step inherits what another did."""
    scene = make_scene(dtype=torch.float32, **(FINE if fine else {}))
    grid, b0 = scene.scan.grid, scene.scan.b0_direction
    local = susceptibility_to_field(scene.chi_ppm, grid, b0)
    generator = torch.Generator().manual_seed(2)
    local = local + 0.003 * torch.randn(grid.shape, generator=generator)
    air = susceptibility_to_field(torch.where(scene.air, 9.0, 0.0), grid, b0)
    noise_ppm = 0.003 / (0.3 + scene.magnitude[0].square().sum(0).sqrt())
    sums = sums_of_images(scene.magnitude, scene.phase_rad)
    raw = raw_of(make_scene(noise_sd=0.0, **(FINE if fine else {})))
    return Problem(scene, sums, local + air + 0.8, local, noise_ppm, raw)


Call = Callable[[Problem], torch.Tensor]


def _steps() -> dict[tuple[str, str], Call]:
    found: dict[tuple[str, str], Call] = {
        ("lag sums", "of images"): lambda p: torch.view_as_real(
            sums_of_images(p.scene.magnitude, p.scene.phase_rad).lags
        ),
        ("noise", "of images"): lambda p: estimate_noise_sd(p.sums.power),
        ("R2*", "log-linear"): lambda p: r2star(p.sums.power.sqrt(), p.scene.scan.echo_times_s, None),
        ("brain mask", "grown surface"): lambda p: brain_mask(p.magnitude, p.scene.scan).float(),
    }
    for name in TABLES["reconstruction"]:
        found["reconstruction", name] = functools.partial(_reconstructed, name)
    for name, estimate in TABLES["field"].items():
        found["field", name] = functools.partial(_field, estimate)
    for name, unwrap in TABLES["unwrap"].items():
        found["unwrap", name] = functools.partial(_unwrapped, unwrap)
    for name, remove in TABLES["background"].items():
        found["background", name] = functools.partial(_removed, remove)
    for name, invert in TABLES["inversion"].items():
        found["inversion", name] = functools.partial(_inverted, invert)
    found["whole line", "default"] = _chi
    return found


def _reconstructed(method: str, p: Problem) -> torch.Tensor:
    return torch.view_as_real(reconstruct(p.raw, method, device=p.total_ppm.device).images)


def _field(estimate: Callable, p: Problem) -> torch.Tensor:
    return estimate(p.sums, p.scene.scan).wrapped_phase_rad * p.scene.mask


def _unwrapped(unwrap: Callable, p: Problem) -> torch.Tensor:
    wrapped = wrap(TWO_PI * 0.005 * p.total_ppm * p.scene.scan.hz_per_ppm)
    return unwrap(wrapped, p.scene.mask, p.scene.scan, None)[0]


def _removed(remove: Callable, p: Problem) -> torch.Tensor:
    return remove(p.total_ppm, p.scene.mask, p.scene.scan, p.noise_ppm)[0]


def _inverted(invert: Callable, p: Problem) -> torch.Tensor:
    return invert(p.local_ppm, p.scene.mask, p.scene.scan, p.noise_ppm, p.magnitude)[0]


def _chi(p: Problem) -> torch.Tensor:
    return map_susceptibility(p.sums, p.scene.scan, QsmConfig(), external_mask=p.scene.mask).chi_ppm


STEPS: Final = _steps()
"""(step, method) to a call."""
LEARNED: Final = (("reconstruction", "cascade"), ("reconstruction", "joint"), ("reconstruction", "cs"))
"""Steps that take long."""

SAME: Final = 0.0
"""Bound of 1 against 2 threads where every sum is in double precision or of few values: the same bits."""
ROUNDING: Final = 1e-3
THREAD_BOUNDS: Final[dict[tuple[str, str], float]] = {
    ("reconstruction", name): ROUNDING for name in ("zero", "sense", "cs", "cascade", "joint")
}
"""Where it is another: products of matrices, and convolutions, are cut by threads."""
CUDA_ROUNDING: Final = 1e-3
CUDA_BOUNDS: Final[dict[tuple[str, str], float]] = {
    ("background", "pdf"): 0.03,
    ("background", "pdf_tv"): 0.03,
    ("whole line", "default"): 0.1,
}
"""Bounds of the processor against a CUDA device, which were never measured: the fit of `pdf` amplifies rounding."""


def run(key: tuple[str, str], p: Problem, n_threads: int) -> torch.Tensor:
    """The map of a step on so many threads; the number of threads is as before at the end."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return STEPS[key](p).detach().cpu()
    finally:
        torch.set_num_threads(before)


def relative(first: torch.Tensor, second: torch.Tensor) -> float:
    """RMS of the difference over the spread of the first; over its size where it is one number or constant."""
    scale = float(first.double().std()) if first.numel() > 1 else 0.0
    scale = scale or float(first.abs().max()) or 1.0
    return float((first - second).double().square().mean().sqrt()) / scale


def on_device(p: Problem, device: str) -> Problem:
    """The same input elsewhere; raw data stay, since a reconstruction moves its slabs itself."""
    s = p.scene
    scene = Scene(*(v.to(device) for v in (s.magnitude, s.phase_rad, s.mask, s.chi_ppm, s.air)), s.scan)
    sums = LagSums(p.sums.lags.to(device), p.sums.power.to(device), None, p.sums.n_channels)
    return Problem(scene, sums, *(v.to(device) for v in (p.total_ppm, p.local_ppm, p.noise_ppm)), p.raw)
