"""Slabs on disk: what is written is read, in part too, and other files are refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from training_phantom import make_slab, random_mask

from dlqsm.core.checks import InputError
from dlqsm.reconstruction.training.slabs import open_slab, slab_paths, write_slab


def test_a_slab_comes_back_as_it_was(tmp_path):
    slab, _ = make_slab()
    write_slab(tmp_path / "a.safetensors", slab)
    file = open_slab(tmp_path / "a.safetensors")
    assert file.shape == tuple(slab.kspace.shape)
    assert file.fully_sampled
    for name, value in vars(slab).items():
        back = vars(file.read())[name]
        if isinstance(value, torch.Tensor):
            assert torch.equal(back, value) and back.dtype == value.dtype
        else:
            assert back == value


def test_parts_of_a_slab_are_those_of_the_whole(tmp_path):
    slab, _ = make_slab()
    write_slab(tmp_path / "a.safetensors", slab)
    part = open_slab(tmp_path / "a.safetensors").read(slice(1, 4), [0, 2])
    assert torch.equal(part.kspace, slab.kspace[[0, 2], :, 1:4])
    assert torch.equal(part.maps, slab.maps[:, 1:4])
    assert torch.equal(part.brain, slab.brain[1:4]) and torch.equal(part.nuclei, slab.nuclei[1:4])
    assert torch.equal(part.field_hz, slab.field_hz[1:4])
    assert part.echo_times_s == (slab.echo_times_s[0], slab.echo_times_s[2])


def test_a_measured_slab_keeps_mask_and_noise_and_has_no_field(tmp_path):
    slab, _ = make_slab()
    mask = torch.from_numpy(random_mask(tuple(slab.kspace.shape[-2:]), np.random.default_rng(1)))
    write_slab(tmp_path / "a.safetensors", replace(slab, field_hz=None, snr=None, sampling_mask=mask, noise_sd=1.0))
    file = open_slab(tmp_path / "a.safetensors")
    back = file.read(slice(0, 2))
    assert not file.fully_sampled
    assert back.field_hz is None and back.snr is None and back.noise_sd == 1.0
    assert torch.equal(back.sampling_mask, mask)


def test_other_files_are_refused_in_one_sentence(tmp_path):
    (tmp_path / "text.safetensors").write_text("no tensors here")
    with pytest.raises(InputError, match="expected a training slab in a safetensors file"):
        open_slab(tmp_path / "text.safetensors")
    with pytest.raises(InputError, match="cannot be read"):
        open_slab(tmp_path / "absent.safetensors")
    save_file({"kspace": torch.zeros(1)}, tmp_path / "other.safetensors", metadata={"format": "dlqsm-weights 1"})
    with pytest.raises(InputError, match="got 'dlqsm-weights 1'"):
        open_slab(tmp_path / "other.safetensors")


def test_half_written_slabs_are_not_listed(tmp_path):
    slab, _ = make_slab()
    write_slab(tmp_path / "b.safetensors", slab)
    write_slab(tmp_path / "a.safetensors", slab)
    (tmp_path / ".partial-1-c.safetensors").write_bytes(b"half")
    assert [path.name for path in slab_paths(tmp_path)] == ["a.safetensors", "b.safetensors"]
