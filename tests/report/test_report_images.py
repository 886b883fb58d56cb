"""Scales and pixels: fixed windows, both ends, what is not finite, and outlines where the voxels are."""

import base64
import io
import math

import numpy as np
import pytest
from PIL import Image

from dlqsm.core.labels import COLOURS
from dlqsm.report import images
from dlqsm.report.images import CHI_PPM, DIFFERENCE_PPM, PHASE_RAD, Scale, contours, data_uri, outlines, to_bytes


def test_the_window_is_fixed_and_clips():
    values = np.array([[-1.0, -0.1, 0.05, 0.2, 9.0, math.nan]])
    assert to_bytes(values, CHI_PPM).tolist() == [[0, 0, 128, 255, 255, 0]]
    assert to_bytes(np.array([[math.inf, 0.0]]), DIFFERENCE_PPM).tolist() == [[128, 128]]


def test_signed_scale_is_dark_at_zero_blue_below_and_orange_above():
    uri = data_uri(np.array([[-0.05, -0.025, 0.0, 0.025, 0.05]] * 4), DIFFERENCE_PPM)
    row = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))[0].astype(int)
    assert row[2].max() < 8
    assert row[1, 2] > row[1, 0] + 50 and row[3, 0] > row[3, 2] + 50
    assert row[0].sum() > row[1].sum() > row[2].sum() < row[3].sum() < row[4].sum()


@pytest.mark.parametrize(
    ("scale", "ticks"),
    [
        (CHI_PPM, ("−0.1", "+0.05", "+0.2")),
        (PHASE_RAD, ("−π", "0", "π")),
        (Scale(0.0, 8.42e6, "a.u."), ("0", "4.2 × 10⁶", "8.4 × 10⁶")),
    ],
)
def test_ticks_are_readable(scale, ticks):
    assert scale.ticks == ticks


def test_pixels_survive_the_encoding_without_loss():
    values = np.random.default_rng(0).uniform(-0.1, 0.2, (31, 17))
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(data_uri(values, CHI_PPM).split(",")[1]))))
    assert decoded.shape[:2] == (31, 17)
    np.testing.assert_array_equal(decoded[..., 0], to_bytes(values, CHI_PPM))


def test_outlines_run_along_the_edge_of_the_voxels():
    labels = np.zeros((12, 10))
    labels[3:6, 2:7] = 1
    (line,) = contours(labels, "Pu")
    np.testing.assert_allclose([line.min(axis=0), line.max(axis=0)], [[2, 3], [7, 6]])
    np.testing.assert_array_equal(line[0], line[-1])
    ((nucleus, colour, path),) = outlines(labels)
    assert (nucleus, colour) == ("Pu", COLOURS["Pu"]) and path.startswith("M") and path.endswith("Z")


def test_both_sides_and_the_rim_of_the_picture_have_closed_outlines():
    labels = np.full((6, 6), np.nan)
    labels[0:2, 0:2], labels[4:6, 4:6] = 2, 9
    found = contours(labels, "Ca")
    assert len(found) == 2
    for line in found:
        np.testing.assert_array_equal(line[0], line[-1])
    assert outlines(np.zeros((5, 5))) == []
    assert images.GREY(0.0)[:3] == (0.0, 0.0, 0.0)
