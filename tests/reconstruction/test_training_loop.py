"""The loop: a training that was cut and resumed is the training that was not; averages, rates, time limits."""

import csv
import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from training_phantom import TinyNetwork, make_slab, random_mask

from dlqsm.core.checks import InputError
from dlqsm.reconstruction.training.checkpoints import (
    NAME,
    Progress,
    forget_rows_after,
    load_checkpoint,
    save_checkpoint,
)
from dlqsm.reconstruction.training.draws import DrawSettings, draw_example, linear_images, supervised_example
from dlqsm.reconstruction.training.loop import LoopSettings, average_decay, learning_rate, train, update_average
from dlqsm.reconstruction.training.loss import LossSettings, image_loss
from dlqsm.reconstruction.training.slabs import open_slab, write_slab

CPU = torch.device("cpu")
SETTINGS = LoopSettings(6, warm_up=2, log_every=2, validate_every=3, learning_rate=5e-3)
DRAWS = DrawSettings(planes=3)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slabs")
    for seed in range(3):
        write_slab(folder / f"{seed}.safetensors", make_slab(seed)[0])
    return [open_slab(path) for path in sorted(folder.iterdir())]


def networks(seed=0):
    torch.manual_seed(seed)
    return TinyNetwork(), TinyNetwork()


def examples(files, seed=7):
    return lambda number: draw_example(files[number % len(files)], random_mask, DRAWS, (seed, number), CPU, True)


def run(files, folder, settings=SETTINGS, *, upto=None, **options):
    """Train in a folder; with ``upto`` end after that many steps, as a time limit would."""
    network, averaged = networks()
    example_of, clock = examples(files), {"seconds": math.inf}
    if upto is not None:
        plain = example_of

        def example_of(number):
            if number == upto:
                raise KeyboardInterrupt
            return plain(number)

    try:
        progress = train(network, averaged, example_of, folder, settings, seconds=clock["seconds"], **options)
    except KeyboardInterrupt:
        return None, network, averaged
    return progress, network, averaged


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def without_time(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def score_of(network):
    return {"score": float(sum(weight.square().sum() for weight in network.parameters()))}


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_a_resumed_training_ends_with_the_same_bits(files, tmp_path, cut):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir(), parts.mkdir()
    _, network, averaged = run(files, whole, validate=score_of)
    # A killed process: checkpoints were written at every step, the last step is lost.
    often = replace(SETTINGS, checkpoint_seconds=0.0)
    assert run(files, parts, often, upto=cut, validate=score_of)[0] is None
    torch.rand(5)
    progress, resumed, resumed_average = run(files, parts, often, validate=score_of)
    assert progress.step == 6
    for name, value in network.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    for name, value in averaged.state_dict().items():
        assert torch.equal(value, resumed_average.state_dict()[name]), name
    for name in ("log.tsv", "validation.tsv"):
        assert without_time(table(whole / name)) == without_time(table(parts / name))


def test_a_time_limit_ends_a_call_with_a_checkpoint_and_the_next_goes_on(files, tmp_path):
    network, averaged = networks()
    settings = replace(SETTINGS, steps=100000, validate_every=0)
    progress = train(network, averaged, examples(files), tmp_path, settings, seconds=0.7)
    assert 0 < progress.step < 100000
    assert progress.seconds < 1.5
    more = train(*networks(), examples(files), tmp_path, settings, seconds=0.7)
    assert more.step > progress.step
    assert more.seconds > progress.seconds


def test_a_finished_training_is_left_as_it_is(files, tmp_path):
    run(files, tmp_path, validate=score_of)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def refuse(number):
        raise AssertionError(f"example {number} was drawn")

    progress = train(*networks(), refuse, tmp_path, SETTINGS, validate=score_of)
    assert progress.step == 6
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_average_follows_its_formula(files, tmp_path):
    network, averaged = networks()
    start = {name: value.clone() for name, value in network.state_dict().items()}
    seen = []

    def example_of(number):
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return examples(files)(number)

    train(network, averaged, example_of, tmp_path, replace(SETTINGS, average=0.3))
    states = [*seen[1:], network.state_dict()]
    expected = start["blocks.0.0.weight"].double()
    for n, state in enumerate(states, start=1):
        decay = min(0.3, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * state["blocks.0.0.weight"].double()
    assert torch.allclose(averaged.state_dict()["blocks.0.0.weight"].double(), expected, atol=1e-7)
    assert not averaged.training and not any(p.requires_grad for p in averaged.parameters())


def test_averages_start_quickly_and_copy_counters():
    assert average_decay(1, 0.999) == pytest.approx(2 / 11)
    assert average_decay(10**6, 0.999) == 0.999
    assert all(average_decay(n, 0.999) <= average_decay(n + 1, 0.999) for n in range(1, 200))
    a, b = networks(0)[0], networks(1)[0]
    b.calls += 5
    update_average(a, b, 0.0)
    assert all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


def test_the_learning_rate_rises_and_falls():
    settings = LoopSettings(1000, learning_rate=2e-3, warm_up=100, final_rate=0.05)
    rates = [learning_rate(step, settings) for step in range(1000)]
    assert rates[0] == pytest.approx(2e-5)
    assert rates[99] == pytest.approx(2e-3) == pytest.approx(max(rates))
    assert rates[-1] == pytest.approx(1e-4, rel=1e-2)
    assert all(a >= b for a, b in itertools.pairwise(rates[100:]))


def test_gradients_are_clipped_and_accumulated(files, tmp_path):
    """Two examples a step change the weights as their mean gradient does."""
    network, averaged = networks()
    before = {name: value.clone() for name, value in network.named_parameters()}
    settings = replace(SETTINGS, steps=1, examples_a_step=2, weight_decay=0.0, warm_up=1, clip=1e9, log_every=1)
    train(network, averaged, examples(files), tmp_path, settings)
    reference = networks()[0]
    for number in (0, 1):
        example = examples(files)(number)
        images = reference(example.samples, example.sampling_mask, example.maps, 1.0)
        (image_loss(images, example, LossSettings()) / 2).backward()
    for name, value in reference.named_parameters():
        # The first step of Adam moves each weight by the rate, against the sign of its gradient.
        moved = network.state_dict()[name] - before[name]
        large = value.grad.abs() > 1e-5
        assert torch.allclose(moved[large], -5e-3 * value.grad.sign()[large], rtol=2e-2)
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in reference.parameters()))
    assert float(table(tmp_path / "log.tsv")[0]["gradient_norm"]) == pytest.approx(norm, rel=1e-3)


def test_the_best_weights_are_those_with_the_lowest_score(files, tmp_path):
    scores, kept = iter([3.0, 1.0, 2.0]), []

    def keep(name, network, known):
        kept.append((name, known["step"]))

    settings = replace(SETTINGS, validate_every=2)
    progress = train(
        *networks(), examples(files), tmp_path, settings, validate=lambda network: {"score": next(scores)}, keep=keep
    )
    assert kept == [("best", 2), ("best", 4), ("last", 6)]
    assert (progress.best_score, progress.best_step) == (1.0, 4)
    assert [row["kept"] for row in table(tmp_path / "validation.tsv")] == ["1", "1", "0"]


def test_steps_that_are_not_finite_leave_the_weights_and_many_end_the_training(files, tmp_path):
    network, averaged = networks()
    before = {name: value.clone() for name, value in network.named_parameters()}

    def broken(number):
        example = examples(files)(number)
        return replace(example, target=example.target * math.nan)

    train(network, averaged, broken, tmp_path, replace(SETTINGS, steps=3))
    assert all(torch.equal(value, before[name]) for name, value in network.named_parameters())
    with pytest.raises(InputError, match="not finite for 20 steps in a row"):
        train(network, averaged, broken, tmp_path, replace(SETTINGS, steps=100))


def test_training_improves_a_held_out_slab(files, tmp_path):
    held_out = make_slab(11)[0]
    mask = torch.from_numpy(random_mask(tuple(held_out.kspace.shape[-2:]), np.random.default_rng(9)))
    example = supervised_example(held_out, mask, 1.0, torch.Generator().manual_seed(1), DRAWS, True)

    @torch.no_grad()
    def error(network):
        images = network(example.samples, example.sampling_mask, example.maps, 1.0)
        return float((images - example.target).abs().square().mean().sqrt())

    network, averaged = networks()
    before = error(network)
    settings = LoopSettings(120, learning_rate=5e-3, warm_up=5, average=0.9, log_every=40)
    train(network, averaged, examples(files), tmp_path, settings)
    assert error(averaged) < 0.95 * before
    log = table(tmp_path / "log.tsv")
    assert [int(row["step"]) for row in log] == [40, 80, 120]
    assert float(log[-1]["loss_over_linear"]) < float(log[0]["loss_over_linear"])


def test_undersampled_scans_alone_train_a_network_too(tmp_path):
    """The error of images that no one ever saw falls, though the loss knows of noisy samples only."""
    for seed in range(4):
        slab = make_slab(seed)[0]
        mask = torch.from_numpy(random_mask(tuple(slab.kspace.shape[-2:]), np.random.default_rng(seed)))
        noise = torch.view_as_complex(
            torch.randn((*slab.kspace.shape, 2), generator=torch.Generator().manual_seed(seed))
        )
        scan = replace(slab, kspace=(slab.kspace + noise) * mask, sampling_mask=mask, noise_sd=1.0, field_hz=None)
        write_slab(tmp_path / "slabs" / f"{seed}.safetensors", scan)
    scans = [open_slab(path) for path in sorted((tmp_path / "slabs").iterdir())]
    truth = make_slab(0)[0]
    scan = scans[0].read()

    @torch.no_grad()
    def error(network):
        images = network(scan.kspace, scan.sampling_mask, scan.maps, 1.0)
        return float((images - linear_images(truth.kspace, truth.maps, True)).abs().square().mean().sqrt())

    network, averaged = networks()
    before = error(network)
    out = tmp_path / "out"
    out.mkdir()
    settings = LoopSettings(120, learning_rate=5e-3, warm_up=5, average=0.9, log_every=60)
    train(network, averaged, examples(scans), out, settings)
    assert error(averaged) < 0.92 * before


def test_checkpoints_of_other_networks_and_other_files_are_refused(tmp_path):
    network, averaged = networks()
    optimiser = torch.optim.AdamW(network.parameters())
    save_checkpoint(tmp_path, Progress(step=3), network, averaged, optimiser)
    other = TinyNetwork(features=9)
    with pytest.raises(InputError, match="of another network"):
        load_checkpoint(tmp_path, other, TinyNetwork(features=9), torch.optim.AdamW(other.parameters()))
    (tmp_path / NAME).write_bytes(b"something else")
    with pytest.raises(InputError, match="cannot be read"):
        load_checkpoint(tmp_path, network, averaged, optimiser)
    torch.save({"step": 3}, tmp_path / NAME)
    with pytest.raises(InputError, match="expected a checkpoint of dlqsm"):
        load_checkpoint(tmp_path, network, averaged, optimiser)
    # An object with code in it is not loaded.
    torch.save({"format": "dlqsm-training 1", "progress": TinyNetwork()}, tmp_path / NAME)
    with pytest.raises(InputError, match="cannot be read"):
        load_checkpoint(tmp_path, network, averaged, optimiser)


def test_lines_of_steps_to_come_are_left_out(tmp_path):
    path = tmp_path / "log.tsv"
    path.write_text("step\tloss\n2\t1\n4\t2\n6\t3\n")
    forget_rows_after(path, 4)
    assert path.read_text() == "step\tloss\n2\t1\n4\t2\n"
    forget_rows_after(tmp_path / "absent.tsv", 4)
    assert not (tmp_path / "absent.tsv").exists()
