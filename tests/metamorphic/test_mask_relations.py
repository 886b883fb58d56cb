"""The brain mask of the magnitude under changes that must not matter."""

import functools

import pytest
import torch
from analytic_scene import make_scene
from scene_changes import FEW_TURNS, moved, padded, scaled

from dlqsm.qsm.mask import brain_mask

LARGEST_SHARE = 0.03
"""Voxels of the mask that may differ: the vertices of the surface lie otherwise in other axes."""


def mask_of(scene):
    return brain_mask(scene.magnitude.square().sum((0, 1)).sqrt(), scene.scan)


@functools.cache
def base():
    scene = make_scene(dtype=torch.float32)
    return scene, mask_of(scene)


def share_that_differs(change, back):
    scene, mask = base()
    return float((back(mask_of(change(scene))) ^ mask).sum() / mask.sum())


def test_it_is_the_brain_of_the_scene():
    scene, mask = base()
    assert float((mask ^ scene.mask).sum() / scene.mask.sum()) < 0.15


@pytest.mark.parametrize("factor", [2.0**-30, 2.0**30])
def test_the_unit_of_the_signal_does_not_matter(factor):
    assert share_that_differs(scaled(factor), lambda mask: mask) == 0.0


@pytest.mark.parametrize("turn", FEW_TURNS[::2], ids=lambda turn: turn.name)
def test_stored_otherwise(turn):
    assert share_that_differs(turn, turn.back) <= LARGEST_SHARE


@pytest.mark.parametrize("place", [moved((1, -1, 1)), padded((3, 0, 2), (0, 4, 1))], ids=["moved", "padded"])
def test_elsewhere_in_the_array(place):
    assert share_that_differs(*place) <= LARGEST_SHARE
