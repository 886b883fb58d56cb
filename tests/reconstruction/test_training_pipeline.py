"""From scans to slabs to examples to a judgement: units, determinism, and errors that are known beforehand."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from coil_phantom import every_second_row, make_phantom
from training_phantom import make_slab, random_mask

from dlqsm.core.checks import InputError
from dlqsm.core.fourier import ifftc
from dlqsm.pipeline.training import Accelerations, Examples, Recipe, fit, poisson_masks, recipe_for
from dlqsm.pipeline.training_slabs import SlabSettings, measured_slabs
from dlqsm.pipeline.training_validation import (
    Validation,
    ValidationSettings,
    field_difference_hz,
    image_errors,
)
from dlqsm.reconstruction.combine import roemer
from dlqsm.reconstruction.learned import NETWORKS
from dlqsm.reconstruction.learned.weights import read_network
from dlqsm.reconstruction.training.draws import DrawSettings, linear_images, supervised_example
from dlqsm.reconstruction.training.loop import LoopSettings
from dlqsm.reconstruction.training.slabs import write_slab

CPU = torch.device("cpu")
DRAWS = DrawSettings(planes=3)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def folder(tmp_path):
    for seed in range(2):
        write_slab(tmp_path / "slabs" / f"{seed}.safetensors", make_slab(seed)[0])
    return tmp_path / "slabs"


def examples(folder, **options):
    return Examples(folder, random_mask, DRAWS, device=CPU, combines=True, seed=3, **options)


def same(a, b):
    return torch.equal(a.samples, b.samples) and torch.equal(a.target, b.target)


def test_examples_drawn_ahead_or_held_in_memory_are_those_drawn_when_asked(folder):
    plain = examples(folder, ahead=0)
    wanted = [plain(number) for number in range(6)]
    for other in (examples(folder, ahead=3), examples(folder, ahead=0, resident_bytes=10**9)):
        assert all(same(other(number), example) for number, example in enumerate(wanted))
        assert same(other(1), wanted[1])
        other.close()
    assert not same(wanted[0], wanted[1])


def test_new_slabs_are_found_while_training_goes_on(folder):
    drawn = examples(folder, ahead=0, reread=5)
    assert len({float(drawn(number).target.abs().max()) for number in range(5)}) > 1
    bright = make_slab(5)[0]
    write_slab(folder / "2.safetensors", replace(bright, kspace=100 * bright.kspace))
    assert max(float(drawn(number).target.abs().max()) for number in range(4, 0, -1)) < 500
    assert max(float(drawn(number).target.abs().max()) for number in range(5, 25)) > 500


def test_folders_without_slabs_are_refused(tmp_path):
    with pytest.raises(InputError, match="no training slab"):
        examples(tmp_path)
    with pytest.raises(InputError, match="no slab to validate on"):
        Validation(tmp_path, ValidationSettings(), combines=True, device=CPU)


def test_masks_have_the_accelerations_asked_for():
    rng = np.random.default_rng(1)
    any_of = [draw.size / draw.sum() for draw in (poisson_masks(Accelerations())((96, 60), rng) for _ in range(12))]
    assert min(any_of) >= 2.49 and max(any_of) <= 8.05 and len({round(factor, 2) for factor in any_of}) > 8
    few = poisson_masks(Accelerations((3.0, 5.0), continuous=False))
    assert {round(mask.size / mask.sum(), 1) for mask in (few((96, 60), rng) for _ in range(12))} == {3.0, 5.0}


def test_a_recipe_survives_json():
    recipe = replace(recipe_for("cascade", 7, seed=3, features=4), draws=DrawSettings(planes=2, nuclei_weight=1.5))
    assert Recipe.from_dict(json.loads(json.dumps(recipe.as_dict()))) == recipe
    assert recipe.accelerations.values == (3.0, 5.0) and recipe.draws.planes == 2
    with pytest.raises(InputError, match="unknown network 'unet'"):
        recipe_for("unet", 7)


def test_the_judgement_is_the_error_of_the_field():
    slab, _ = make_slab()
    mask = torch.ones(slab.kspace.shape[-2:], dtype=torch.bool)
    example = supervised_example(slab, mask, 1.0, torch.Generator().manual_seed(1), DRAWS, True)
    perfect = image_errors(example.target, example, slab)
    assert perfect["brain_hz"] < 1e-2 and perfect["nuclei_hz"] < 1e-2 and perfect["nrmse"] == 0.0
    times = torch.tensor(slab.echo_times_s)[:, None, None, None, None]
    turned = image_errors(example.target * torch.exp(2j * math.pi * 3.0 * times), example, slab)
    assert turned["brain_hz"] == pytest.approx(3.0, abs=0.01) and turned["nuclei_hz"] == pytest.approx(3.0, abs=0.01)
    assert turned["score"] == pytest.approx(6.0 + turned["dipole_hz"], abs=0.02)
    nuclei_only = torch.where(slab.nuclei, torch.exp(2j * math.pi * 3.0 * times), torch.ones(()))
    partly = image_errors(example.target * nuclei_only, example, slab)
    assert partly["nuclei_hz"] == pytest.approx(3.0, abs=0.01) and partly["brain_hz"] < 1.5
    assert 0 < partly["dipole_hz"] < 3.0


def test_without_a_true_field_the_target_is_the_reference():
    slab = replace(make_slab()[0], field_hz=None, nuclei=torch.zeros_like(make_slab()[0].nuclei))
    mask = torch.ones(slab.kspace.shape[-2:], dtype=torch.bool)
    example = supervised_example(slab, mask, 1.0, torch.Generator().manual_seed(1), DRAWS, True)
    times = torch.tensor(slab.echo_times_s)[:, None, None, None, None]
    errors = image_errors(example.target * torch.exp(2j * math.pi * 2.0 * times), example, slab)
    assert errors["brain_hz"] == pytest.approx(2.0, abs=1e-3) and "nuclei_hz" not in errors


def test_whole_turns_are_no_error():
    times = (0.004, 0.008)
    a = torch.tensor([100.0, -120.0])
    assert torch.allclose(field_difference_hz(a + 250.0, a, times), torch.zeros(2), atol=1e-4)
    assert torch.allclose(field_difference_hz(a + 255.0, a, times), torch.full((2,), 5.0), atol=1e-4)


def linear_network(combines):
    """Zero-filled images with the signature of a network, to judge beside it."""

    def linear(samples, mask, maps, noise):
        del mask, noise
        return linear_images(samples, maps, combines)

    return linear


def test_a_validation_judges_the_same_scan_every_time(folder):
    settings = ValidationSettings(accelerations=(2.5, 4.0), planes=4)
    first, again = (Validation(folder, settings, combines=True, device=CPU)(linear_network(True)) for _ in range(2))
    assert first == again
    less = Validation(folder, replace(settings, accelerations=(2.5,)), combines=True, device=CPU)(linear_network(True))
    assert less["score"] < first["score"]
    coils = Validation(folder, settings, combines=False, device=CPU)(linear_network(False))
    assert coils["brain_hz"] == pytest.approx(first["brain_hz"], rel=0.3)


def test_slabs_of_raw_data_are_in_units_of_the_noise():
    phantom = make_phantom(noise_sd=0.05)
    clean = make_phantom(noise_sd=1e-9, noise_scan=True)
    slabs = list(measured_slabs(phantom.raw, SlabSettings(planes=6, virtual_coils=6), "phantom"))
    assert [slab.kspace.shape[2] for slab in slabs] == [6, 6]
    for first, slab in zip((0, 6), slabs, strict=True):
        assert slab.sampling_mask is None and slab.noise_sd == 1.0 and slab.field_hz is None
        assert not slab.nuclei.any()
        image = roemer(ifftc(slab.kspace, (-2, -1)), slab.maps)
        inside = phantom.mask[first : first + 6]
        # White noise of unit coils is 0.05: the combined image is the object over it.
        expected = clean.images[:, first : first + 6].abs() / 0.05
        assert float((image.abs() / expected)[:, inside].median()) == pytest.approx(1.0, rel=0.02)
        overlap = (slab.brain & inside).sum() / (slab.brain | inside).sum()
        assert float(overlap) > 0.85


def test_undersampled_raw_data_keep_their_mask():
    phantom = make_phantom(every_second_row())
    slab = next(measured_slabs(phantom.raw, SlabSettings(planes=6), "phantom"))
    assert torch.equal(slab.sampling_mask, torch.from_numpy(every_second_row()))
    assert not slab.kspace[..., ~slab.sampling_mask].any()
    without = phantom.raw.header
    with pytest.raises(InputError, match="phantom: has 3 echoes but 0 echo times"):
        next(measured_slabs(replace(phantom.raw, header=replace(without, echo_times_s=())), SlabSettings(), "phantom"))


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_network_fits_and_keeps_its_best_weights(name, folder, tmp_path):
    recipe = recipe_for(name, 2)
    small = ValidationSettings(accelerations=(3.0,), most_slabs=1, planes=2)
    few = DrawSettings(planes=2, max_echoes=2, max_coils=2 if name == "cascade" else None)
    recipe = replace(recipe, draws=few, loop=LoopSettings(2, warm_up=1), validation=small)
    out = tmp_path / "out"
    out.mkdir()
    progress = fit(recipe, out, folder, folder, device=CPU, ahead=0)
    assert progress.step == 2 and math.isfinite(progress.best_score)
    kept = read_network(NETWORKS[name], out / "best.safetensors")
    again = read_network(NETWORKS[name], out / "last.safetensors").state_dict()
    assert all(torch.equal(value, again[key]) for key, value in kept.state_dict().items())


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_convolutions_in_half_precision_leave_the_rest_in_float32(name):
    slab, _ = make_slab(shape=(2, 32, 25))
    mask = torch.from_numpy(random_mask((32, 25), np.random.default_rng(2)))
    combines = NETWORKS[name].COMBINES
    example = supervised_example(slab, mask, 1.0, torch.Generator().manual_seed(1), DRAWS, combines)
    torch.manual_seed(0)
    network = NETWORKS[name]()
    inputs = (example.samples, example.sampling_mask, example.maps, 1.0)
    whole = network(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        half = network(*inputs)
    assert half.dtype == torch.complex64
    (half - example.target).abs().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
    assert float((half - whole).detach().abs().mean()) < 0.05 * float(whole.detach().abs().mean())
    # Where nothing is missing nothing passes through a convolution.
    everything = torch.ones_like(mask)
    with torch.autocast("cpu", torch.bfloat16):
        full = network(slab.kspace, everything, slab.maps, 1.0)
    assert torch.allclose(full, linear_images(slab.kspace, slab.maps, combines), atol=1e-3)
