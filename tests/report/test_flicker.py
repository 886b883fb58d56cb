"""Flicker: the same voxel at the same pixel in every layer, nothing resampled here, nothing that starts by itself."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up import SHAPE, make_arm, make_report
from page_reader import Reader, decode

from dlqsm.core.checks import InputError
from dlqsm.core.scan import Grid
from dlqsm.report import flicker as module
from dlqsm.report.flicker import flicker
from dlqsm.report.page import participant_page
from dlqsm.report.planes import PLANES

PPM_PER_GREY = 0.3 / 255


def ball(radius=0.8):
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    return torch.from_numpy(x**2 + y**2 + z**2 < radius)


def constant(value):
    return torch.where(ball(), torch.full(SHAPE, value), torch.zeros(SHAPE))


@pytest.fixture(scope="module")
def found(report):
    return flicker(report)


def test_all_arms_and_the_truth_in_three_planes(found):
    assert [layer.name for layer in found.layers] == ["PI2", "DL3", "DL4", "DL5", "truth"]
    assert [plane.plane for plane in found.planes] == list(PLANES)
    for plane in found.planes:
        sizes = {decode(uri).shape for uri in plane.uris}
        columns, rows = plane.pixels
        assert sizes == {(rows * len(plane.positions_mm), columns)}, "8-bit grey, one size for all layers"
        assert plane.uris[0].startswith("data:image/png;base64,")
        assert np.all(np.diff(plane.positions_mm) > 0)


def test_the_same_voxel_is_at_the_same_pixel_in_every_layer():
    """One bright voxel, in all maps: the brightest pixel of each image is the same one."""
    spot = torch.zeros(SHAPE)
    spot[14, 22, 8] = 0.5
    arms = tuple(make_arm(name, chi_ppm=spot + 0.01 * ball(), truth_chi_ppm=None, labels=None) for name in ("a", "b"))
    for plane in flicker(make_report(arms=arms, reference_arm="a", regions=make_report().regions)).planes:
        places = {int(np.argmax(decode(uri))) for uri in plane.uris}
        assert len(places) == 1


def test_pixels_are_the_map_less_its_mean_in_the_shared_mask(report, found):
    shared = torch.stack([arm.mask for arm in report.arms]).all(dim=0)
    arm = report.arms[1]
    expected = (arm.chi_ppm - arm.chi_ppm[shared].mean())[arm.mask].numpy()
    pixels = decode(found.planes[0].uris[1]).astype(float)
    inside = pixels[pixels > 0] * PPM_PER_GREY - 0.1
    assert inside.mean() == pytest.approx(expected.mean(), abs=0.004)
    assert np.median(inside) == pytest.approx(np.median(expected), abs=0.002)


def test_a_shift_of_the_reference_does_not_blink():
    arms = [make_arm("a", truth_chi_ppm=None), make_arm("b", truth_chi_ppm=None)]
    moved = replace(arms[1], chi_ppm=arms[0].chi_ppm + 0.04 * arms[0].mask)
    shown = flicker(make_report(arms=(arms[0], moved), reference_arm="a"))
    for plane in shown.planes:
        one, other = (decode(uri).astype(int) for uri in plane.uris)
        assert np.abs(one - other).max() <= 1


def test_maps_that_were_moved_are_shown_inside_the_common_mask():
    """The aligned map lies on the reference's grid, whatever the arm's own grid is."""
    reference = make_arm("a", common_mask=ball(0.5), truth_chi_ppm=None)
    other_grid = Grid.centred((30, 30, 10), (2.0, 2.0, 5.0), np.eye(3))
    small = dict.fromkeys(("magnitude", "phase_rad", "total_field_hz", "noise_hz", "local_field_hz", "labels"))
    mask = torch.ones(other_grid.shape, dtype=torch.bool)
    arm = replace(
        reference,
        name="b",
        grid=other_grid,
        chi_ppm=torch.zeros(other_grid.shape),
        mask=mask,
        common_mask=None,
        **small,
    )
    moved = replace(arm, aligned_chi_ppm=constant(0.05))
    assert flicker(make_report(arms=(reference, arm), reference_arm="a")) is None
    shown = flicker(make_report(arms=(reference, moved), reference_arm="a"))
    assert shown.is_aligned and shown.layers[1].how == module.MOVED
    for plane in shown.planes:
        outside = decode(plane.uris[1]) == 0
        assert outside.mean() > (decode(plane.uris[0]) == 0).mean(), "the common mask is the smaller one"


def test_arms_that_cannot_be_shown_are_named():
    arms = [make_arm(name, truth_chi_ppm=None) for name in ("a", "b", "c")]
    other = Grid.centred(SHAPE, (1.5, 1.6, 4.0), np.eye(3))
    arms[2] = replace(arms[2], grid=other)
    arms.append(make_arm("d", chi_ppm=None, truth_chi_ppm=None))
    shown = flicker(make_report(arms=tuple(arms), reference_arm="a"))
    assert shown.missing == (
        "c: not shown (another grid than a, and not registered)",
        "d: not shown (no susceptibility)",
    )


def test_an_aligned_map_on_another_grid_is_refused():
    arms = (make_arm("a"), make_arm("b", aligned_chi_ppm=torch.zeros(2, 3, 4)))
    with pytest.raises(InputError, match=r"aligned map of arm b has shape \(2, 3, 4\)"):
        make_report(arms=arms, reference_arm="a")


def test_slices_stay_within_their_budget_and_hold_the_centre():
    for spacing, before, after, most in (
        (4.0, 30.0, 22.0, 14),
        (1.5, 40.0, 40.0, 6),
        (0.9, 3.0, 90.0, 9),
        (2.0, 1.0, 1.0, 1),
    ):
        offsets = module._offsets(before, after, spacing, most)
        assert 0.0 in offsets and len(offsets) <= most
        assert min(offsets) >= -before and max(offsets) <= after
        assert len(set(np.round(np.diff(offsets), 9))) <= 1, "evenly spaced"
    assert len(module._offsets(30.0, 22.0, 4.0, 14)) == 13, "all planes where they fit"


def test_page_says_whether_the_arms_were_registered():
    plain = Reader(participant_page(make_report())).words
    assert "The arms are not registered here: motion of the head between scans blinks too." in plain
    arms = (make_arm("PI2"), make_arm("DL3", aligned_chi_ppm=constant(0.02)))
    moved = Reader(participant_page(make_report(arms=arms))).words
    assert "registered rigidly and resampled for this display only" in moved
    assert "not registered here" not in moved


def test_viewer_starts_only_when_asked_to_and_is_operable_by_keyboard(report):
    page = participant_page(report)
    reader = Reader(page)
    root = next(a for name, a in reader.tags if a.get("class") == "flicker")
    assert root["tabindex"] == "0" and "Space" in root["aria-label"]
    play = next(b for b in reader.of("button") if b["name"] == "play")
    assert play["aria-pressed"] == "false"
    period = next(i for i in reader.of("input") if i.get("name") == "period")
    # Two pictures make one flash: 250 ms each are two flashes a second, below the three that WCAG 2.3.1 allows.
    assert int(period["min"]) >= 250
    script = re.search(r"<script>(.*?)</script>", page, flags=re.DOTALL)[1]
    started = [line.strip() for line in script.splitlines() if "setInterval" in line]
    assert len(started) == 1 and "timer = on ?" in started[0], "only play(true) starts it"
    calls = re.findall(r"play\(([^)]*)\)", script)
    assert "true" in calls and script.rstrip().endswith("draw();\n})();")


def test_one_map_alone_has_nothing_to_alternate_with():
    arm = make_arm("only", truth_chi_ppm=None)
    report = make_report(arms=(arm,), reference_arm=None)
    assert flicker(report) is None
    assert 'id="flicker"' not in participant_page(report)


def test_pages_of_large_matrices_stay_small(monkeypatch):
    """No more pixels a map than the budget, at any matrix."""
    monkeypatch.setattr(module, "PIXELS", {"axial": 5_000, "coronal": 1_500, "sagittal": 1_500})
    for plane in flicker(make_report()).planes:
        columns, rows = plane.pixels
        assert columns * rows * len(plane.positions_mm) <= module.PIXELS[plane.plane]
