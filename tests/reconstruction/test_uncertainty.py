"""The field's uncertainty: what noise added once more changes, and who may ask for it."""

import math
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from coil_phantom import ECHO_TIMES_S, SHAPE, every_second_row, make_phantom

from dlqsm.cli import main
from dlqsm.core.checks import InputError
from dlqsm.core.raw import MemoryRaw
from dlqsm.io.outputs import read_json
from dlqsm.io.raw_write import write_raw
from dlqsm.reconstruction import FIELD_UNCERTAINTY
from dlqsm.reconstruction.noise import field_change, field_sd_hz, local_rms
from dlqsm.reconstruction.reconstruct import reconstruct


@pytest.fixture(scope="module")
def halved():
    return make_phantom(every_second_row())


def test_the_change_of_the_field_is_found_whatever_the_offset_and_the_magnitude():
    generator = torch.Generator().manual_seed(1)
    one = torch.view_as_complex(torch.randn((4, 1, 3, 8, 6, 2), generator=generator))
    times = (0.004, 0.009, 0.015, 0.02)
    field = 2 * torch.randn((3, 8, 6), generator=generator)
    turn = 2 * math.pi * field * torch.tensor(times)[:, None, None, None] + 0.3
    other = 0.7 * one * torch.exp(1j * turn).unsqueeze(1)

    found = field_change(other, one, torch.ones(1, 3, 8, 6), times) * field_sd_hz(one[:, 0], times)
    assert torch.allclose(found, field, atol=1e-4)
    assert not field_change(0 * one, 0 * one, torch.ones(1, 3, 8, 6), times).any()
    assert not field_sd_hz(0 * one[:, 0], times).any()


def test_coils_apart_are_combined_first():
    phantom = make_phantom()
    coils = (phantom.images.unsqueeze(1) * phantom.maps).to(torch.complex64)
    turned = coils * torch.exp(2j * math.pi * 3.0 * torch.tensor(ECHO_TIMES_S))[:, None, None, None, None]

    sd_hz = field_sd_hz(phantom.images.to(torch.complex64), ECHO_TIMES_S)
    found = sd_hz * field_change(turned, coils, phantom.maps.to(torch.complex64), ECHO_TIMES_S)
    assert torch.allclose(found[phantom.mask], torch.tensor(3.0), atol=1e-3)


def test_of_fully_sampled_data_it_is_the_noise_of_the_field():
    """The Cramér-Rao bound of a slope through echoes of known magnitude."""
    phantom = make_phantom()
    result = reconstruct(phantom.raw, "cs", {"strength": 1e-3}, uncertainty=True)
    bound = field_sd_hz(result.images, ECHO_TIMES_S)
    core = phantom.mask & (phantom.images[0].abs() > 0.3)
    share = result.field_uncertainty_hz[core] / FIELD_UNCERTAINTY["cs"] / bound[core]

    assert float(share.median()) == pytest.approx(1.0, rel=0.15)


def test_it_does_not_depend_on_the_slabs_and_is_absent_where_not_asked_for(halved):
    whole = reconstruct(halved.raw, "cs", uncertainty=True)
    parts = reconstruct(halved.raw, "cs", uncertainty=True, slab_bytes=1)

    assert whole.field_uncertainty_hz.shape == SHAPE
    # Compressed sensing ends at a tolerance, and knows no more of its surroundings than the halo.
    one, other = (each.field_uncertainty_hz[halved.mask] for each in (whole, parts))
    assert torch.allclose(one, other, rtol=0.05)
    assert reconstruct(halved.raw, "cs").field_uncertainty_hz is None


def test_more_noise_is_less_certain():
    core = make_phantom().mask
    quiet, loud = (
        reconstruct(make_phantom(every_second_row(), noise_sd=sd).raw, "cs", uncertainty=True).field_uncertainty_hz
        for sd in (0.005, 0.02)
    )
    assert float(loud[core].median()) > 2 * float(quiet[core].median())


def test_rms_is_that_of_the_voxels_that_are_not_zero():
    change = torch.zeros(20, 20, 20)
    change[:10] = 0.5
    assert torch.allclose(local_rms(change), change)


def test_who_cannot_be_told_is_refused(halved):
    with pytest.raises(InputError, match="was measured for cs and joint; got method 'sense'"):
        reconstruct(halved.raw, "sense", uncertainty=True)
    header = replace(halved.raw.header, echo_times_s=())
    with pytest.raises(InputError, match="3 echoes and 0 echo times"):
        reconstruct(MemoryRaw(header, halved.raw.samples), "cs", uncertainty=True)


def test_the_command_writes_it_in_hertz(tmp_path: Path, capsys):
    raw = tmp_path / "raw.h5"
    write_raw(raw, make_phantom(every_second_row((24, 18), 8), n_coils=3, shape=(10, 24, 18)).raw)
    assert main(["recon", str(raw), str(tmp_path / "out"), "--method", "cs", "--uncertainty"]) == 0
    values = nibabel.load(tmp_path / "out" / "field_uncertainty.nii.gz").get_fdata()
    assert values.shape == (10, 24, 18) and np.isfinite(values).all() and values.max() > 0
    assert read_json(tmp_path / "out" / "field_uncertainty.json")["Units"] == "Hz"
    capsys.readouterr()
    assert main(["recon", str(raw), str(tmp_path / "no"), "--method", "zero", "--uncertainty"]) == 2
    assert "was measured for cs and joint" in capsys.readouterr().err and not (tmp_path / "no").exists()
