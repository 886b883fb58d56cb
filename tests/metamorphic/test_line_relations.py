"""The whole line under changes that must not matter, or matter in a known way, over every method of every table."""

import pytest
import torch
from analytic_scene import make_scene
from line_relations import (
    CHAINS,
    CHOOSING,
    EVERY_TIME,
    FEW_TURNS,
    GIVEN,
    PLACE,
    ROUNDING,
    SIGNAL,
    SIZE,
    SLOW,
    TURNS,
    base_maps,
    base_scene,
    bound_of,
    doubled_in_size,
    maps_of,
    measured,
    strength_given_again,
)
from scene_changes import conjugated, scaled

from dlqsm.config import STEPS, TABLES
from dlqsm.qsm.sign import sign_evidence


def pairs(names):
    """Chain and relation; most of the slow chains belong to the long version."""
    return [
        pytest.param(chain, name, marks=pytest.mark.soak if chain in SLOW and name not in EVERY_TIME else ())
        for chain in CHAINS
        for name in names
    ]


def check(relation, chain):
    told = measured(relation, chain)
    assert told.relative <= bound_of(chain, relation.name), told
    assert told.n_mask == 0


def test_the_chains_hold_every_method():
    for step in STEPS:
        assert {getattr(config, step).method for config in CHAINS.values()} == set(TABLES[step])


@pytest.mark.parametrize(("chain", "name"), pairs(SIGNAL))
def test_what_the_signal_may_do(chain, name):
    check(SIGNAL[name], chain)


@pytest.mark.parametrize(("chain", "name"), pairs(PLACE))
def test_where_the_head_lies_in_the_array(chain, name):
    check(PLACE[name], chain)


@pytest.mark.parametrize(("chain", "name"), pairs(FEW_TURNS))
def test_how_the_axes_are_stored(chain, name):
    """B0 turns with the axes, since it comes from the affine."""
    check(TURNS[name], chain)


@pytest.mark.soak
@pytest.mark.parametrize("name", TURNS)
@pytest.mark.parametrize("chain", CHAINS)
def test_all_ways_to_store_the_axes(chain, name):
    check(TURNS[name], chain)


@pytest.mark.parametrize("chain", CHAINS)
def test_a_larger_head_on_larger_voxels(chain):
    """The dipole has no length of its own: with the lengths among the options, chi stays."""
    told = doubled_in_size(chain)
    assert told.relative <= bound_of(chain, SIZE), told
    assert told.n_mask == 0


def test_the_evidence_of_the_sign_turns_with_it():
    """What stops a conjugated phase where enough places of fast decay speak (`dlqsm.qsm.sign`)."""
    scene, chain = base_scene(), "vsharp+l1, strength"
    plain, turned = base_maps(chain), maps_of(conjugated(scene), CHAINS[chain])
    first, second = (sign_evidence(m.chi_ppm, m.r2star_hz, m.eroded_mask, scene.scan) for m in (plain, turned))
    assert first.n_places == second.n_places > 0
    assert first.score > 1.0
    assert second.score == pytest.approx(-first.score, rel=1e-3)


@pytest.mark.parametrize("power_of_two", [-40, 40])
def test_no_unit_of_the_signal_is_too_small_or_too_large_for_single_precision(power_of_two):
    """Reconstructions give images of 1e-6 as well as of 1e6; nothing on the way is a size of signal."""
    chain, scene = "vsharp+l1, strength", make_scene(dtype=torch.float32)
    plain, other = (maps_of(s, CHAINS[chain]) for s in (scene, scaled(2.0**power_of_two)(scene)))
    assert torch.equal(plain.chi_ppm, other.chi_ppm)


@pytest.mark.parametrize("chain", CHOOSING)
def test_a_strength_that_was_chosen_and_one_that_is_given(chain):
    """Not the same map: the one that chooses has found its weights and edges without the voxels that it left out."""
    told = strength_given_again(chain)
    assert ROUNDING < told.relative <= bound_of(chain, GIVEN), told
