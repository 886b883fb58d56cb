"""The small picture of one participant in all arms: what is drawn, what is said of it, and how large it is."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up import make_arm, make_report
from PIL import Image

from dlqsm.report.arms_picture import arms_picture

SMALL = 60_000
"""Bytes: what a study of many participants can keep of each."""


def pixels(picture):
    image = Image.open(io.BytesIO(picture.image))
    assert image.format == "WEBP"
    return np.asarray(image.convert("RGB")).astype(float)


def cells(picture, n_arms):
    """Pixels of the row of differences in the basal ganglia, an arm each: they begin below the heading and maps."""
    found = pixels(picture)
    rows = np.array_split(found[28:], 4)
    return np.array_split(rows[1][8:-8, 34:-66], n_arms, axis=1)


@pytest.fixture(scope="module")
def alike():
    """Three arms with one map, the last 40 ppb too high in the left half of the head."""
    arms = [make_arm(name, truth_chi_ppm=None, magnitude=None) for name in ("PI2", "DL3", "DL4")]
    changed = arms[2].chi_ppm.clone()
    changed[:20] += 0.04
    return make_report(arms=(*arms[:2], replace(arms[2], chi_ppm=changed * arms[2].mask)), reference_arm="PI2")


def colour(cell):
    """How far a cell is from grey; text and the lossy code leave a little."""
    return float((cell.max(axis=2) - cell.min(axis=2)).mean())


def test_equal_maps_differ_by_nothing_and_others_by_colour(alike):
    reference, same, other = cells(arms_picture(alike), 3)
    assert same.mean() < 6 and colour(same) < 4
    assert other.mean() > 25 and colour(other) > 25
    # The left half of the head is at the right of the picture; half of 40 ppb is its mean, which is taken off.
    half = other.shape[1] // 2
    right, left = other[:, half + 8 : -12], other[:, 12 : half - 8]
    reddish = [float((part[..., 0] - part[..., 2]).mean()) for part in (left, right)]
    assert reddish[0] < -10 < 10 < reddish[1]
    assert reference.mean() > 40, "the map with the outlines of the nuclei, in place of a difference to itself"


def test_what_it_shows_is_told_in_sentences(alike):
    about = arms_picture(alike).about
    assert about.startswith("sub-01: susceptibility in axial planes through basal ganglia and midbrain, −0.1 to +0.2")
    assert "difference to PI2, −0.05 to +0.05 ppm" in about and "outlines of the nuclei" in about
    assert "Not registered, so that motion of the head shows as a difference: DL3, DL4." in about
    moved = [replace(arm, aligned_chi_ppm=arm.chi_ppm) for arm in alike.arms[1:]]
    about = arms_picture(make_report(arms=(alike.arms[0], *moved), reference_arm="PI2")).about
    assert "DL3 and DL4 were moved rigidly onto PI2, for this picture alone." in about
    assert "Not registered" not in about


def test_an_arm_that_cannot_be_shown_is_named(alike):
    arms = (*alike.arms, make_arm("DL5", chi_ppm=None, truth_chi_ppm=None))
    picture = arms_picture(make_report(arms=arms, reference_arm="PI2"))
    assert "DL5 is not shown: no susceptibility." in picture.about
    assert cells(picture, 4)[3].mean() < 15


def test_without_labels_the_head_is_shown():
    arms = tuple(make_arm(name, labels=None) for name in ("PI2", "DL3"))
    picture = arms_picture(make_report(arms=arms, reference_arm="PI2"))
    assert "planes through head" in picture.about and "outlines" not in picture.about


def test_there_is_no_picture_without_two_arms_and_a_reference(alike):
    assert arms_picture(make_report(arms=alike.arms[:1], reference_arm="PI2")) is None
    assert arms_picture(make_report(arms=alike.arms, reference_arm=None)) is None
    blank = make_arm("DL3", chi_ppm=None, truth_chi_ppm=None)
    assert arms_picture(make_report(arms=(alike.arms[0], blank), reference_arm="PI2")) is None
    assert arms_picture(make_report(arms=(blank, replace(blank, name="PI2")), reference_arm="PI2")) is None


def test_the_picture_is_small_even_where_maps_are_noise(alike):
    noisy = [
        make_arm(name, chi_ppm=0.05 * torch.randn(40, 44, 16, generator=torch.Generator().manual_seed(i)))
        for i, name in enumerate(("PI2", "DL3", "DL4", "DL5", "PI2rep"))
    ]
    assert len(arms_picture(make_report(arms=tuple(noisy), reference_arm="PI2")).image) < SMALL
    wide = pixels(arms_picture(make_report(arms=tuple(noisy), reference_arm="PI2"))).shape[1]
    many = tuple(replace(noisy[0], name=f"R{i}") for i in range(12))
    assert pixels(arms_picture(make_report(arms=many, reference_arm="R0"))).shape[1] < 1.25 * wide, (
        "columns get narrower"
    )


def test_the_same_bytes_again(alike):
    assert arms_picture(alike).image == arms_picture(alike).image
