"""The brain in two calls, each with half of the mask: a nucleus inside a half keeps its value, roughly."""

from dataclasses import replace

import pytest
import torch
from analytic_scene import NUCLEI
from line_relations import CHAINS, base_maps, base_scene, maps_of

CUT = 13
"""First plane of the right half: 1 mm right of the middle, between the nuclei of both sides."""
BOUNDS_PPM = {"default": 0.06, "vsharp+l1, strength": 0.06}
"""Largest change of a nucleus against its half [ppm], by chain; measured, times about 1.5. Nuclei have 0.1 to 0.15."""


def changes_ppm(chain):
    """Of the left nucleus in the left half and of the right one in the right half."""
    scene, whole = base_scene(), base_maps(chain)
    left = torch.arange(scene.mask.shape[0])[:, None, None] < CUT
    changes = []
    for half, (_, _, value, _) in zip((left, ~left), NUCLEI[:2], strict=True):
        part = maps_of(replace(scene, mask=scene.mask & half), CHAINS[chain])
        valid = part.eroded_mask & whole.eroded_mask
        nucleus = valid & (scene.chi_ppm == value)
        contrast = [float(m.chi_ppm[nucleus].mean() - m.chi_ppm[valid].mean()) for m in (part, whole)]
        changes.append(contrast[0] - contrast[1])
    return changes


@pytest.mark.parametrize("chain", BOUNDS_PPM)
def test_a_nucleus_keeps_its_contrast(chain):
    assert max(abs(change) for change in changes_ppm(chain)) < BOUNDS_PPM[chain]
