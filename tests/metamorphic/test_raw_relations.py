"""Raw data to susceptibility under changes of the raw data that must not matter, in single precision."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from analytic_scene import make_scene
from line_relations import FIXED, difference
from raw_scene import raw_of

from dlqsm.config import QsmConfig, Step
from dlqsm.core.raw import MemoryRaw
from dlqsm.pipeline.susceptibility import QsmMaps, map_susceptibility
from dlqsm.reconstruction.reconstruct import reconstruct

CONFIG = QsmConfig(background=Step("vsharp"), inversion=Step("l1", FIXED))
METHODS = ("zero", "sense")
Change = Callable[[MemoryRaw], MemoryRaw]


@functools.cache
def raw_scene() -> MemoryRaw:
    return raw_of(make_scene(noise_sd=0.0))


def by_coil(matrix: np.ndarray) -> Change:
    """Mix the coils of samples and noise scan."""

    def change(raw: MemoryRaw) -> MemoryRaw:
        samples = np.einsum("ij,lejx->leix", matrix, raw.samples).astype(np.complex64)
        noise = (matrix @ raw.header.noise).astype(np.complex64)
        return MemoryRaw(replace(raw.header, noise=noise), samples)

    return change


def in_another_order(raw: MemoryRaw) -> MemoryRaw:
    """The lines as another sequence acquires them."""
    order = np.random.default_rng(1).permutation(len(raw.header.lines))
    header = replace(raw.header, lines=raw.header.lines[order], calibration=raw.header.calibration[order])
    return MemoryRaw(header, raw.samples[order])


def conjugated(raw: MemoryRaw) -> MemoryRaw:
    """The k-space of conjugate images: conj S(-k)."""
    _, ny, nz = raw.header.grid.shape
    lines = (-raw.header.lines + 2 * np.array([ny // 2, nz // 2])) % (ny, nz)
    samples = np.roll(raw.samples[..., ::-1], 1, -1).conj()
    noise = raw.header.noise.conj()
    return MemoryRaw(replace(raw.header, lines=lines.astype(np.int32), noise=noise), np.ascontiguousarray(samples))


def unitary() -> np.ndarray:
    rng = np.random.default_rng(2)
    return np.linalg.qr(rng.standard_normal((3, 3)) + 1j * rng.standard_normal((3, 3)))[0]


RELATIONS: dict[str, tuple[Change, float]] = {
    "signal and noise times 1024": (by_coil(1024.0 * np.eye(3)), 1.0),
    "signal and noise times 3.7e-6": (by_coil(3.7e-6 * np.eye(3)), 1.0),
    "a global phase": (by_coil(np.exp(2.1j) * np.eye(3)), 1.0),
    "a phase of each coil": (by_coil(np.diag(np.exp([0.3j, 2.0j, -1.4j]))), 1.0),
    "a gain of each coil": (by_coil(np.diag([0.5, 3.0, 1.2])), 1.0),
    "coils in another order": (by_coil(np.eye(3)[[2, 0, 1]]), 1.0),
    "coils mixed unitarily": (by_coil(unitary()), 1.0),
    "lines in another order": (in_another_order, 1.0),
    "images conjugated": (conjugated, -1.0),
}
"""Change, and its factor of chi."""
BOUNDS = {
    ("sense", "coils in another order"): 0.015,
    ("sense", "coils mixed unitarily"): 0.015,
    ("sense", "images conjugated"): 0.015,
}
"""The noise map of `sense` comes from a drawn replica, which meets other virtual coils then; measured, times 2.5."""
ROUNDING = 1e-3
"""RMS change of chi over its own RMS: whitening, sensitivities and transforms in single precision."""


def maps_of(raw: MemoryRaw, method: str) -> QsmMaps:
    return map_susceptibility(
        reconstruct(raw, method).lag_sums, raw.header.scan, CONFIG, external_mask=make_scene().mask
    )


@functools.cache
def base_maps(method: str) -> QsmMaps:
    return maps_of(raw_scene(), method)


def measured(name: str, method: str):
    change, factor = RELATIONS[name]
    return difference(base_maps(method), maps_of(change(raw_scene()), method), lambda volume: volume, factor)


@pytest.mark.parametrize("name", RELATIONS)
@pytest.mark.parametrize("method", METHODS)
def test_raw_data(method, name):
    told = measured(name, method)
    assert told.relative <= BOUNDS.get((method, name), ROUNDING), told
    assert told.n_mask == 0


@pytest.mark.parametrize("method", METHODS)
def test_the_map_is_that_of_the_scene(method):
    """So that the relations are those of maps that mean something."""
    maps, scene = base_maps(method), make_scene()
    kept = maps.eroded_mask
    both = torch.stack([maps.chi_ppm[kept], scene.chi_ppm[kept].to(maps.chi_ppm)])
    assert float(torch.corrcoef(both)[0, 1]) > 0.7
