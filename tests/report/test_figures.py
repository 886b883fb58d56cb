"""Pictures for the README and for sampling masks: real sizes and real content."""

import io

import numpy as np
from made_up import make_arm, make_report
from PIL import Image

from dlqsm.report.figures import readme_picture, sampling_picture


def pixels(png):
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB")).astype(float)


def test_readme_picture_has_a_column_an_arm_and_shows_each(report):
    picture = pixels(readme_picture(report, dpi=60))
    height, width, _ = picture.shape
    assert width > 4 * 2.6 * 60 and height > 3 * 2.6 * 60
    for column in np.array_split(picture[:, : int(0.94 * width)], 4, axis=1):
        assert column.std() > 20
    one = pixels(readme_picture(make_report(arms=(report.arms[0],)), dpi=60))
    assert one.shape[1] < width / 2


def test_readme_picture_outlines_the_nuclei_in_their_colours(report):
    picture = pixels(readme_picture(report, dpi=60))
    saturation = picture.max(axis=2) - picture.min(axis=2)
    assert (saturation > 60).sum() > 200
    plain = make_report(arms=tuple(make_arm(arm.name, labels=None) for arm in report.arms))
    grey = pixels(readme_picture(plain, dpi=60))
    assert (grey.max(axis=2) - grey.min(axis=2) > 60).sum() == 0
    assert grey.shape[0] < picture.shape[0], "no labels, no row of nuclei"


def test_missing_map_leaves_its_cell_dark(report):
    arms = (report.arms[0], make_arm("DL3", seed=1, local_field_hz=None))
    assert pixels(readme_picture(make_report(arms=arms), dpi=60)).std() > 20


def test_sampling_picture_is_white_where_sampled():
    mask = np.zeros((40, 20), dtype=bool)
    mask[:, :5] = True
    picture = pixels(sampling_picture(mask)).mean(axis=2)
    assert picture.shape[1] > picture.shape[0], "ky runs to the right"
    assert picture[int(0.9 * picture.shape[0])].min() > 250, "kz runs upward: the low partitions are at the bottom"
    assert picture[: picture.shape[0] // 2].max() < 5
