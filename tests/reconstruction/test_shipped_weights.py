"""The weights that come with dlqsm, on a virtual head of a seed that no training has: they must earn their place."""

from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest
import torch

from dlqsm.acquisition import placement
from dlqsm.acquisition.protocols import Protocol
from dlqsm.acquisition.sampling import poisson
from dlqsm.io.anatomy import load_anatomy
from dlqsm.pipeline.training_slabs import SlabSettings, virtual_slabs
from dlqsm.pipeline.training_validation import image_errors
from dlqsm.reconstruction.learned import cascade, joint
from dlqsm.reconstruction.sparse import cs
from dlqsm.reconstruction.training.draws import DrawSettings, supervised_example
from dlqsm.reconstruction.training.slabs import TrainingSlab

SHIPPED = Path(str(resources.files("dlqsm.reconstruction.learned"))) / "shipped"
PROTOCOL = Protocol("held out", (96, 108, 56), (2.1, 2.0, 2.8), (2, 2, 2), 6, echo_times_s=(4e-3, 10e-3, 16e-3, 22e-3))
NEVER_TRAINED_ON = (987_654_321, 5)


@pytest.fixture(scope="module")
def slab() -> TrainingSlab:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(placement, "WIDE_EXTENT_MM", 400.0)
        patch.setattr(placement, "WIDE_VOXEL_MM", 4.0)
        return virtual_slabs(load_anatomy(), NEVER_TRAINED_ON, SlabSettings(planes=16, virtual_coils=6), PROTOCOL)[0]


def errors(method, slab: TrainingSlab, acceleration: float, *, combines: bool, **options) -> dict[str, float]:
    mask = torch.from_numpy(poisson((slab.kspace.shape[-2], slab.kspace.shape[-1]), acceleration, 3).mask)
    noise = torch.Generator().manual_seed(2)
    example = supervised_example(slab, mask, 1.0, noise, DrawSettings(), combines)
    images = method(example.samples, mask, example.maps, 1.0, **options)
    return image_errors(images, example, slab if combines else replace(slab, field_hz=None))


@pytest.mark.parametrize("acceleration", [3.0, 5.0])
def test_joint_is_nearer_the_true_field_than_compressed_sensing(slab, acceleration):
    found = errors(joint, slab, acceleration, combines=True)
    rivals = [errors(cs, slab, acceleration, combines=True, strength=each) for each in (0.15, 0.35, 0.6)]
    for measure in ("brain_hz", "nuclei_hz", "nrmse"):
        assert found[measure] < min(rival[measure] for rival in rivals), measure


@pytest.mark.parametrize("acceleration", [3.0, 5.0])
def test_cascade_is_nearer_the_image_than_compressed_sensing_of_each_coil(slab, acceleration):
    if not (SHIPPED / "cascade.safetensors").is_file():
        pytest.skip("this version has no weights of cascade")
    found = errors(cascade, slab, acceleration, combines=False)
    rivals = [errors(cs, slab, acceleration, combines=False, coils="each", strength=each) for each in (0.35, 0.7)]
    assert found["nrmse"] < 0.9 * min(rival["nrmse"] for rival in rivals)
