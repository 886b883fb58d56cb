"""The same head tilted in the scanner: B0 turns against it, the susceptibility of its nuclei stays."""

from dataclasses import replace

import pytest
import torch
from analytic_scene import NUCLEI, make_scene
from line_relations import CHAINS, maps_of

from dlqsm.core.scan import Scan

TILTS_DEG = ((0.0, 0.0), (25.0, 0.0), (0.0, 40.0), (90.0, 0.0))
"""About x and y. At 90 degrees the head lies on its face: B0 runs along another axis of the array."""

BOUNDS_PPM = {"default": 0.04, "vsharp+l1, strength": 0.035, "lbv+tkd": 0.05}
"""Largest change of the mean of a nucleus [ppm], by chain; measured, times about 1.5. The nuclei differ by 0.2 ppm."""


def nuclei_ppm(tilt_deg, chain, *, upright=False):
    """Mean of each nucleus where the map is valid [ppm]; ``upright`` hides the tilt from the line."""
    scene = make_scene(tilt_deg=tilt_deg)
    if upright:
        told = scene.scan
        along_z = Scan(told.grid, told.echo_times_s, told.field_strength_t, (0.0, 0.0, 1.0))
        scene = replace(scene, scan=along_z)
    maps = maps_of(scene, CHAINS[chain])
    values = [n[2] for n in NUCLEI]
    return torch.stack([maps.chi_ppm[maps.eroded_mask & (scene.chi_ppm == v)].mean() for v in values])


@pytest.mark.parametrize("chain", BOUNDS_PPM)
def test_nuclei_stay_what_they_are(chain):
    values = torch.stack([nuclei_ppm(tilt, chain) for tilt in TILTS_DEG])
    assert float((values - values[0]).abs().max()) < BOUNDS_PPM[chain]


def test_a_tilt_that_nobody_tells_is_seen():
    """The bounds say something: with B0 taken for the third axis all the same, nuclei change by more."""
    chain = "vsharp+l1, strength"
    wrong, right = (nuclei_ppm(TILTS_DEG[2], chain, upright=upright) for upright in (True, False))
    assert float((wrong - right).abs().max()) > 1.2 * BOUNDS_PPM[chain]


def test_the_middle_of_the_brain_is_where_it_was():
    """The scene turns with its array: only B0 differs between tilts."""
    straight, tilted = (make_scene(tilt_deg=tilt) for tilt in TILTS_DEG[:2])
    assert torch.equal(straight.mask, tilted.mask)
    assert straight.scan.b0_direction != tilted.scan.b0_direction
    assert torch.equal(straight.chi_ppm, tilted.chi_ppm)
