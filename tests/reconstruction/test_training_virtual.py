"""Training slabs of virtual heads: the truth that they carry is what their k-space shows."""

import math

import numpy as np
import pytest

from dlqsm.acquisition import placement
from dlqsm.acquisition.protocols import Protocol
from dlqsm.core.fourier import ifftc
from dlqsm.io.anatomy import load_anatomy
from dlqsm.pipeline import training_slabs
from dlqsm.pipeline.training_slabs import SlabSettings, draw_protocol, virtual_slabs, write_virtual_slabs
from dlqsm.pipeline.training_validation import field_difference_hz
from dlqsm.reconstruction.combine import roemer
from dlqsm.reconstruction.training.draws import linear_images
from dlqsm.reconstruction.training.slabs import open_slab, slab_paths


def test_protocols_vary_within_what_a_scanner_does():
    protocols = [draw_protocol(np.random.default_rng(seed)) for seed in range(40)]
    assert len({protocol.shape for protocol in protocols}) > 6
    assert {len(protocol.echo_times_s) for protocol in protocols} == {4, 5, 6, 8}
    for protocol in protocols:
        assert 0.19 < protocol.shape[0] * protocol.voxel_size_mm[0] * 1e-3 < 0.21
        assert 40 <= protocol.snr <= 140 and 8 <= protocol.flip_angle_deg <= 25
        assert protocol.echo_times_s[-1] < protocol.repetition_time_s


@pytest.fixture(scope="module")
def heads():
    """Slabs of one coarse virtual head."""
    patch = pytest.MonkeyPatch()
    patch.setattr(placement, "WIDE_EXTENT_MM", 400.0)
    patch.setattr(placement, "WIDE_VOXEL_MM", 4.0)
    protocol = Protocol("coarse", (56, 64, 40), (3.6, 3.6, 3.6), (2, 2, 2), 6, echo_times_s=(4e-3, 8e-3), snr=60.0)
    yield virtual_slabs(load_anatomy(), (1, 2), SlabSettings(planes=8, virtual_coils=6), protocol)
    patch.undo()


def test_virtual_slabs_show_the_true_field_without_noise(heads):
    assert len(heads) == 3
    for slab in heads:
        assert slab.kspace.shape == (2, 6, 8, 64, 40) and slab.noise_sd == 0.0 and slab.sampling_mask is None
        image = roemer(ifftc(slab.kspace, (-2, -1)), slab.maps)
        gathered = (image[0].conj() * image[1]).angle() / (2 * math.pi * 4e-3)
        error = field_difference_hz(gathered, slab.field_hz, slab.echo_times_s)[slab.brain]
        # Voxels of 3.6 mm hold much fine structure, of which the phase is not that of the mean field.
        assert float(error.abs().median()) < 0.12 * float(slab.field_hz[slab.brain].std())
        assert float(error.median().abs()) < 0.3
        magnitude = image[0].abs()[slab.brain]
        # SNR of white matter is 60; ESPIRiT's unit norm makes the image's noise 1.
        assert float(magnitude.median()) == pytest.approx(60.0, rel=0.25)
    assert all(int(slab.nuclei.sum()) > 50 for slab in heads[:2])
    assert float((linear_images(heads[0].kspace, heads[0].maps, True)[:, 0] - image_of(heads[0])).abs().max()) < 1e-3


def image_of(slab):
    return roemer(ifftc(slab.kspace, (-2, -1)), slab.maps)


def test_heads_that_are_there_are_not_made_again(heads, tmp_path, monkeypatch):
    made = []

    def few(anatomy, seeds, settings):
        made.append(seeds)
        return heads

    monkeypatch.setattr(training_slabs, "virtual_slabs", few)
    settings = SlabSettings(planes=8)
    assert list(write_virtual_slabs(None, tmp_path, 4, [0, 1], settings)) == [0, 1]
    slab_paths(tmp_path)[-1].unlink()
    assert sorted(write_virtual_slabs(None, tmp_path, 4, [0, 1, 2], settings)) == [0, 1, 2]
    assert made == [(4, 0), (4, 1), (4, 1), (4, 2)]
    assert open_slab(slab_paths(tmp_path)[0]).shape == tuple(heads[0].kspace.shape)
