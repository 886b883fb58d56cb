"""Slabs that fit into what is granted, and results that do not depend on them."""

import math

import numpy as np
import pytest
import torch
from coil_phantom import every_second_row, make_phantom

from dlqsm.core.memory import MB
from dlqsm.core.raw import RawHeader
from dlqsm.core.scan import Grid
from dlqsm.pipeline.memory import recon_need
from dlqsm.reconstruction import RECONSTRUCTIONS
from dlqsm.reconstruction.hybrid import HYBRID_BYTES
from dlqsm.reconstruction.reconstruct import reconstruct
from dlqsm.reconstruction.slabs import SLAB_BYTES, fit_slabs, plan_slabs


def header_of(shape: tuple[int, int, int], n_echoes: int, n_coils: int, acceleration: float = 3.0) -> RawHeader:
    """Header of a scan of any size; nothing is scanned."""
    n_lines = round(math.prod(shape[1:]) / acceleration)
    return RawHeader(
        grid=Grid(shape, (1.0, 1.0, 1.0)),
        n_readout=shape[0],
        n_coils=n_coils,
        n_echoes=n_echoes,
        lines=np.stack(np.divmod(np.arange(n_lines), shape[2]), axis=1).astype(np.int32),
        calibration=np.ones(n_lines, dtype=bool),
        echo_times_s=tuple(0.003 * (echo + 1) for echo in range(n_echoes)),
    )


PAPER = header_of((280, 280, 96), 8, 32)


@pytest.mark.parametrize("method", RECONSTRUCTIONS)
def test_the_scan_of_the_paper_fits_into_eight_gigabytes(method: str) -> None:
    assert recon_need(PAPER, method).planned_bytes < 8000 * MB
    thin = recon_need(PAPER, method, granted_bytes=4800 * MB)
    assert thin.planned_bytes <= 4800 * MB
    assert thin.slabs.planes_at_once <= recon_need(PAPER, method).slabs.planes_at_once


@pytest.mark.parametrize("method", ["zero", "sense", "cs"])
def test_less_memory_gives_thinner_slabs_and_then_hybrid_data_in_a_file(method: str) -> None:
    header = header_of((64, 96, 64), 8, 12)
    usual = plan_slabs(header, method)
    assert fit_slabs(header, method, room_bytes=usual.peak_bytes) == (SLAB_BYTES, HYBRID_BYTES)
    rooms = [usual.peak_bytes * share // 10 for share in (9, 8)]
    plans = []
    for room in rooms:
        slab_bytes, hybrid_bytes = fit_slabs(header, method, room_bytes=room)
        plans.append(plan_slabs(header, method, slab_bytes=slab_bytes, hybrid_bytes=hybrid_bytes))
        assert plans[-1].peak_bytes <= room
    planes = [usual.planes_at_once, *(plan.planes_at_once for plan in plans)]
    assert planes == sorted(planes, reverse=True) and planes[-1] < planes[0]
    assert fit_slabs(header, method, room_bytes=1) == (1, 0)


def test_more_of_anything_needs_no_less() -> None:
    sizes = [((32, 32, 32), 2, 4), ((64, 32, 32), 2, 4), ((64, 64, 32), 2, 4), ((64, 64, 32), 4, 4)]
    sizes += [((64, 64, 32), 4, 8), ((64, 64, 64), 8, 8), ((128, 128, 96), 8, 12)]
    planned = [recon_need(header_of(*size), "sense").planned_bytes for size in sizes]
    assert planned == sorted(planned)


@pytest.mark.parametrize("method", ["zero", "sense"])
def test_images_are_the_same_in_thin_slabs_from_a_file(method: str) -> None:
    raw = make_phantom(every_second_row((24, 18), 8), n_coils=3, shape=(10, 24, 18)).raw
    whole = reconstruct(raw, method)
    thin = reconstruct(raw, method, slab_bytes=1, hybrid_bytes=0)
    for one, other in (
        (whole.images, thin.images),
        (whole.noise_sd, thin.noise_sd),
        (whole.lag_sums.lags, thin.lag_sums.lags),
        (whole.lag_sums.power, thin.lag_sums.power),
    ):
        assert float((one - other).abs().max()) <= 1e-6 * float(one.abs().max())
    assert torch.equal(whole.images, reconstruct(raw, method, hybrid_bytes=0).images)
