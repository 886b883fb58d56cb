"""Single steps: what a unit, a sign, a sum and a cut of the mask do to their maps, in double precision."""

from __future__ import annotations

import functools
import warnings

import pytest
import torch
from line_relations import ROUNDING, base_maps, base_scene

from dlqsm.config import TABLES
from dlqsm.core.checks import ConvergenceWarning
from dlqsm.core.dipole import susceptibility_to_field
from dlqsm.core.methods import options_of
from dlqsm.qsm.background import BACKGROUND_REMOVERS
from dlqsm.qsm.inversion import INVERSIONS
from dlqsm.qsm.unwrap import UNWRAPPERS

LINEAR = {"background": ("vsharp", "lbv", "resharp", "none"), "inversion": ("tkd", "tikhonov")}
"""Methods whose result is linear in the field; LBV and RESHARP as far as their solver goes."""
FINE = {"lbv": {"tolerance": 1e-11}, "resharp": {"tolerance": 1e-11, "max_iterations": 1000}}
PPM_OPTIONS, PER_PPM_OPTIONS = ("strength", "local_sd_ppm"), ("nonlinear_time_s",)
DIMENSIONLESS_STRENGTH = ("tikhonov",)
OWN_PPM = {"medi": 0.02}
"""`medi` smooths its penalty below 1e-3 ppm, which is no option; 0.009 was measured."""


@functools.cache
def fields() -> dict[str, torch.Tensor]:
    """Total and local field, noise [ppm] and the mask that all methods get."""
    scene = base_scene()
    total_ppm = base_maps("none+tgv").total_field_hz / scene.scan.hz_per_ppm
    local_ppm = susceptibility_to_field(scene.chi_ppm, scene.scan.grid, scene.scan.b0_direction)
    noise_ppm = base_maps("none+tgv").noise_hz / scene.scan.hz_per_ppm
    local_ppm = local_ppm + 0.002 * torch.randn(local_ppm.shape, generator=torch.Generator().manual_seed(5)).double()
    return {"background": total_ppm, "inversion": local_ppm, "noise": noise_ppm}


def run(step: str, name: str, field: torch.Tensor, noise: torch.Tensor | None, mask=None, **options) -> torch.Tensor:
    """The map of a method; a solver may end before its tolerance."""
    scene = base_scene()
    mask = scene.mask if mask is None else mask
    more = {"inversion": (scene.magnitude.square().sum((0, 1)).sqrt(),)}.get(step, ())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return TABLES[step][name](field, mask, scene.scan, noise, *more, **options)[0]


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def in_half_units(step: str, name: str) -> dict[str, float]:
    """Options in ppm twice as large, those over ppm half as large; none where they are found from the data."""
    changed = {}
    for option in options_of(TABLES[step][name]).values():
        if option.name in PPM_OPTIONS and option.default is not None and name not in DIMENSIONLESS_STRENGTH:
            changed[option.name] = 2.0 * option.default
        if option.name in PER_PPM_OPTIONS:
            changed[option.name] = 0.5 * option.default
    return changed


@pytest.mark.parametrize(
    ("step", "name"), [(step, name) for step in ("background", "inversion") for name in TABLES[step]]
)
def test_ppm_are_a_unit_like_any_other(step, name):
    """Field, noise and options in half units: the map in half units, to the bit."""
    field, noise = fields()[step], fields()["noise"]
    if name == "pdf_tv":
        noise = None  # the spread that its first fit expects of a local field is no option
    plain = run(step, name, field, noise)
    double = run(step, name, 2.0 * field, None if noise is None else 2.0 * noise, **in_half_units(step, name))
    assert relative(double, 2.0 * plain) <= OWN_PPM.get(name, 0.0)


@pytest.mark.parametrize(("step", "name"), [(step, name) for step in LINEAR for name in LINEAR[step]])
def test_linear_methods_add_up(step, name):
    field = fields()[step]
    other = torch.randn(field.shape, generator=torch.Generator().manual_seed(9), dtype=field.dtype) * field.std()
    parts = [run(step, name, part, None, **FINE.get(name, {})) for part in (field, other, field + 3.0 * other)]
    assert relative(parts[0] + 3.0 * parts[1], parts[2]) <= ROUNDING


@pytest.mark.parametrize("name", INVERSIONS)
def test_a_turned_field_gives_a_turned_map(name):
    """Nothing in an inversion prefers a sign; l1 weighs by medians, of which an even number of values has two."""
    plain, turned = (run("inversion", name, sign * fields()["inversion"], fields()["noise"]) for sign in (1.0, -1.0))
    assert relative(turned, -plain) <= {"l1": 0.05, "medi": 1e-2}.get(name, ROUNDING)


def two_pieces() -> tuple[torch.Tensor, torch.Tensor]:
    """The mask without its middle planes: two pieces that touch nowhere."""
    mask = base_scene().mask
    x = torch.arange(mask.shape[0])[:, None, None]
    return mask & (x < 9), mask & (x > 14)


@pytest.mark.parametrize("name", UNWRAPPERS)
def test_pieces_unwrap_as_each_alone(name):
    """Up to whole turns of a piece; the Laplacian has a constant of its own, and sees the other piece."""
    scene, pieces = base_scene(), two_pieces()
    phase = base_maps("none+tgv").total_field_hz * 0.005 * 2 * torch.pi
    wrapped = torch.remainder(phase + torch.pi, 2 * torch.pi) - torch.pi
    whole = UNWRAPPERS[name](wrapped, pieces[0] | pieces[1], scene.scan, None)[0]
    for piece in pieces:
        alone = UNWRAPPERS[name](wrapped, piece, scene.scan, None)[0]
        change = (whole - alone)[piece]
        turns = (change / (2 * torch.pi)).round()
        if name == "laplacian":
            assert float(change.std()) < 0.3
        else:
            assert bool((turns == turns[0]).all())
            assert float((change - 2 * torch.pi * turns).abs().max()) < 1e-9


@pytest.mark.parametrize("name", ["lbv", "none"])
def test_pieces_lose_their_background_as_each_alone(name):
    """Laplace's equation knows nothing of another piece, but for the mean that is taken off first."""
    pieces, field = two_pieces(), fields()["background"]
    options = FINE.get(name, {})
    whole = run("background", name, field, None, mask=pieces[0] | pieces[1], **options)
    for piece in pieces:
        alone = run("background", name, field, None, mask=piece, **options)
        assert relative(torch.where(piece, whole, 0.0), alone) <= 1e-7


def test_every_removal_is_listed_as_linear_or_not():
    """So that a new method is asked."""
    assert set(BACKGROUND_REMOVERS) == {*LINEAR["background"], "pdf", "pdf_tv"}
