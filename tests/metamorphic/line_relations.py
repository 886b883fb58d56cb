"""What must not change the maps of the whole line, or change them in a known way: relations, chains, bounds."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import scene_changes as change
import torch
from analytic_scene import Scene, make_scene

from dlqsm.config import QsmConfig, Step
from dlqsm.core.checks import ConvergenceWarning
from dlqsm.pipeline.susceptibility import QsmMaps, map_susceptibility, sums_of_images

Chi = torch.Tensor
FIXED: Final = {"strength": 2e-4}
CHAINS: Final[Mapping[str, QsmConfig]] = {
    "default": QsmConfig(),
    "vsharp+l1": QsmConfig(background=Step("vsharp"), inversion=Step("l1")),
    "vsharp+l1, strength": QsmConfig(background=Step("vsharp"), inversion=Step("l1", FIXED)),
    "lbv+tkd": QsmConfig(background=Step("lbv"), inversion=Step("tkd")),
    "resharp+tikhonov": QsmConfig(Step("fit"), Step("romeo"), Step("resharp"), Step("tikhonov")),
    "pdf+ilsqr": QsmConfig(unwrap=Step("romeo"), background=Step("pdf"), inversion=Step("ilsqr")),
    "laplacian+vsharp+tv": QsmConfig(unwrap=Step("laplacian"), background=Step("vsharp"), inversion=Step("tv")),
    "vsharp+fansi": QsmConfig(background=Step("vsharp"), inversion=Step("fansi")),
    "vsharp+medi": QsmConfig(background=Step("vsharp"), inversion=Step("medi", {"max_iterations": 3})),
    "none+tgv": QsmConfig(background=Step("none"), inversion=Step("tgv", {"max_iterations": 60})),
}
"""Every method of every table stands in one at least; the slowest stop early, which no relation minds."""
ROUNDING: Final = 1e-9
"""Bound of what is equal but for rounding, in double precision."""


@dataclass(frozen=True)
class Relation:
    """A change of the scene, and what it must do to chi.

    Parameters
    ----------
    name, effect
        What changes, and what is expected, in words.
    of
        The change.
    back
        Brings volumes of the changed scene back to the grid of the first.
    factor
        Of chi.
    bit_identical
        Whether chi is the same to the last bit.
    """

    name: str
    effect: str
    of: change.Change
    back: change.Back = lambda volume: volume
    factor: float = 1.0
    bit_identical: bool = False


TURNED: Final = "turned"
"""Key of bounds that are the same for all turns of the axes."""
SIZE: Final = "voxels and lengths doubled"
GIVEN: Final = "the strength that was chosen, given"
CHOOSING: Final = ("default", "vsharp+l1")
"""Chains whose inversion chooses its strength."""
EXACT, MOVED = "signal times 1024", "head moved by whole voxels"
TWICE, TIMES, CONJUGATED, PADDED = (
    "field doubled, echo times halved",
    "field times 7/3, echo times over it",
    "phase conjugated",
    "padded with air",
)


def _signal_relations() -> list[Relation]:
    same, exactly = "unchanged", "unchanged to the bit"
    return [
        Relation(EXACT, exactly, change.scaled(1024.0), bit_identical=True),
        Relation("signal times 3.7e5", same, change.scaled(3.7e5)),
        Relation("signal times 1e-8", same, change.scaled(1e-8)),
        Relation("a global phase", same, change.with_phase(change.one_phase)),
        Relation("a random phase of each coil and voxel", same, change.with_phase(change.phase_of_each_coil)),
        Relation("whole turns added", same, change.turns_added),
        Relation("coils in another order", same, change.coils_reversed),
        Relation("coils mixed unitarily", same, change.coils_mixed),
        Relation(TWICE, exactly, change.other_field(2.0), bit_identical=True),
        Relation(TIMES, same, change.other_field(7.0 / 3.0)),
        Relation("B0 reversed", exactly, change.b0_reversed, bit_identical=True),
        Relation(CONJUGATED, "sign turned", change.conjugated, factor=-1.0),
        Relation("a mask of two pieces", "the larger alone", change.with_a_second_piece, bit_identical=True),
    ]


def _place_relations() -> list[Relation]:
    with_margin = change.padded((3, 0, 2), (0, 4, 1))
    return [
        Relation(MOVED, "moved alike", *change.moved((1, -1, 1))),
        Relation(PADDED, "unchanged", *with_margin),
    ]


SIGNAL: Final = {relation.name: relation for relation in _signal_relations()}
PLACE: Final = {relation.name: relation for relation in _place_relations()}
TURNS: Final = {turn.name: Relation(turn.name, "turned alike", turn, turn.back) for turn in change.TURNS}
FEW_TURNS: Final = tuple(turn.name for turn in change.FEW_TURNS)

SLOW: Final = ("default", "pdf+ilsqr", "laplacian+vsharp+tv", "vsharp+fansi", "vsharp+medi", "none+tgv")
EVERY_TIME: Final = (EXACT, "a global phase", TIMES, CONJUGATED, MOVED, PADDED, "-y-z-x")
"""Relations that slow chains are tried on in the ordinary suite."""


def maps_of(scene: Scene, config: QsmConfig) -> QsmMaps:
    """The whole line, from images; a solver may end before its tolerance on so small a head."""
    sums = sums_of_images(scene.magnitude, scene.phase_rad, scene.noise_sd)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return map_susceptibility(sums, scene.scan, config, external_mask=scene.mask)


@functools.cache
def base_scene() -> Scene:
    """The scene that is changed."""
    return make_scene()


@functools.cache
def base_maps(chain: str) -> QsmMaps:
    """Its maps."""
    return maps_of(base_scene(), CHAINS[chain])


AMPLIFIED: Final = {"pdf": 0.1, "pdf_tv": 0.1, "medi": 2e-3}
"""Bound of chains with a method that stops conjugate gradients early.

The fit amplifies the rounding of its input, and its stop comes an iteration sooner or later for it: 0.01 to 0.05 were
measured, 3e-4 of `medi`. Relations that keep the bits are exact there too.
"""
BOUNDS: Final[Mapping[str, Mapping[str, float]]] = {
    "default": {TURNED: 0.15, SIZE: 0.35, GIVEN: 0.1},
    "vsharp+l1": {CONJUGATED: 0.015, TURNED: 0.5, GIVEN: 0.25},
    "vsharp+l1, strength": {CONJUGATED: 3e-4},
    "lbv+tkd": {PADDED: 0.15, TURNED: 2e-5},
    "resharp+tikhonov": {PADDED: 0.15},
    "pdf+ilsqr": {SIZE: 0.4},
    "vsharp+fansi": {TWICE: 0.01, TIMES: 0.015},
    "vsharp+medi": {TWICE: 0.02, TIMES: 0.03},
    "none+tgv": {TURNED: 0.12},
}
"""What is not equal but for rounding, by chain; measured, times 1.5 to 2. `docs/numerics.md` has the reasons."""


def bound_of(chain: str, name: str) -> float:
    """Bound of a relation on a chain; 0 where the bits are the same."""
    bounds = BOUNDS.get(chain, {})
    config = CHAINS[chain]
    amplified = AMPLIFIED.get(config.background.method, 0.0), AMPLIFIED.get(config.inversion.method, 0.0)
    usual = max(*amplified, ROUNDING)
    if name in TURNS:
        return bounds.get(TURNED, usual)
    kept = name in SIGNAL and SIGNAL[name].bit_identical
    return bounds.get(name, 0.0 if kept else usual)


@dataclass(frozen=True)
class Difference:
    """Between chi as it came and as it must be: RMS over the RMS of chi; voxels of the mask."""

    relative: float
    n_mask: int


def difference(first: QsmMaps, second: QsmMaps, back: Callable[[Chi], Chi], factor: float = 1.0) -> Difference:
    """Compare inside both masks."""
    expected, found = factor * first.chi_ppm, back(second.chi_ppm)
    kept = back(second.eroded_mask)
    both = kept & first.eroded_mask
    relative = float((found - expected)[both].square().mean().sqrt() / expected[both].square().mean().sqrt())
    return Difference(relative, int((kept ^ first.eroded_mask).sum()))


def measured(relation: Relation, chain: str) -> Difference:
    """What a relation does to the maps of a chain."""
    changed = maps_of(relation.of(base_scene()), CHAINS[chain])
    return difference(base_maps(chain), changed, relation.back, relation.factor)


def lengths_doubled(config: QsmConfig) -> QsmConfig:
    """The chain with every length among its options twice as long."""
    for name in ("background", "inversion"):
        told = getattr(config, name).resolved(name)["parameters"]
        doubled = {
            option: tuple(2.0 * part for part in value) if isinstance(value, tuple) else 2.0 * value
            for option, value in told.items()
            if option.endswith("_mm")
        }
        config = config.with_step(name, None, doubled)
    return config


def strength_given_again(chain: str) -> Difference:
    """The strength that the chain chose, given as an option."""
    config = CHAINS[chain].with_chosen(base_maps(chain).summary["convergence"]["inversion"])
    return difference(base_maps(chain), maps_of(base_scene(), config), lambda volume: volume)


def doubled_in_size(chain: str) -> Difference:
    """Voxels, head and all lengths of the options twice as long."""
    config = lengths_doubled(CHAINS[chain])
    return difference(base_maps(chain), maps_of(change.larger_voxels(2.0)(base_scene()), config), lambda v: v)
