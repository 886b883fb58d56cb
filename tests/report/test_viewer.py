"""Viewer: the same voxel at the same place in every map, nothing resampled here, nothing that starts by itself."""

import base64
import hashlib
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up import SHAPE, make_arm, make_report
from page_reader import Reader

from dlqsm.core.checks import InputError
from dlqsm.core.labels import FULL_NAMES, label_table
from dlqsm.core.scan import Grid
from dlqsm.report import viewer as module
from dlqsm.report.aligned import MOVED
from dlqsm.report.images import Scale
from dlqsm.report.packing import LEVELS, pack, to_grey, unpack
from dlqsm.report.page import participant_page
from dlqsm.report.planes import PLANES
from dlqsm.report.viewer import OWN_GRID, TRUTH, linked_viewer

STEP_PPM = 0.5 / LEVELS


def ball(radius=0.8):
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    return torch.from_numpy(x**2 + y**2 + z**2 < radius)


def constant(value):
    return torch.where(ball(), torch.full(SHAPE, value), torch.zeros(SHAPE))


def volume(packed):
    """Grey values (slice, row, column) of an image on the page."""
    return unpack(base64.b64decode(packed.uri.split(",")[1]), packed.shape, packed.tiles)


def volumes(viewer, key="chi_ppm"):
    (quantity,) = [q for q in viewer.quantities if q.key == key]
    return {layer.name: volume(layer.packed) for layer in quantity.layers}


@pytest.fixture(scope="module")
def found(report):
    return linked_viewer(report)


@pytest.fixture(scope="module")
def page(report):
    return participant_page(report)


def test_maps_of_all_arms_and_the_truth(found):
    assert {q.key: [layer.name for layer in q.layers] for q in found.quantities} == {
        "chi_ppm": ["PI2", "DL3", "DL4", "DL5", TRUTH],
        "magnitude": ["PI2", "DL3", "DL4", "DL5"],
        "local_field_hz": ["PI2", "DL3", "DL4", "DL5"],
    }
    assert found.names == ("PI2", "DL3", "DL4", "DL5", TRUTH)
    assert [plane.name for plane in found.planes] == list(PLANES)
    for quantity in found.quantities:
        assert {layer.packed.shape for layer in quantity.layers} == {tuple(found.box["shape"])}


def test_grey_and_position_of_a_place_are_those_of_the_voxel(report, found):
    """What the script reads at (column, row, slice) is the map at the scanner position that it tells."""
    shared = torch.stack([arm.mask for arm in report.arms]).all(dim=0)
    arm = report.arms[1]
    grey, affine = volumes(found)[arm.name], np.asarray(found.box["affine"])
    n_inside = 0
    for place in np.random.default_rng(3).integers(0, found.box["shape"], (300, 3)):
        position_mm = affine @ np.append(place, 1.0)
        index = tuple(np.rint(np.linalg.solve(arm.grid.affine, np.append(position_mm, 1.0))[:3]).astype(int))
        level = int(grey[place[2], place[1], place[0]])
        is_there = all(0 <= i < n for i, n in zip(index, SHAPE, strict=True)) and bool(arm.mask[index])
        assert (level > 0) == is_there
        if is_there:
            expected = float(arm.chi_ppm[index] - arm.chi_ppm[shared].mean())
            assert -0.2 + (level - 1) * STEP_PPM == pytest.approx(expected, abs=0.51 * STEP_PPM)
            n_inside += 1
    assert n_inside > 50


def test_the_same_voxel_is_at_the_same_place_in_every_map():
    spot = torch.zeros(SHAPE)
    spot[14, 22, 8] = 0.5
    arms = tuple(make_arm(name, chi_ppm=spot + 0.01 * ball(), truth_chi_ppm=None, labels=None) for name in ("a", "b"))
    shown = volumes(linked_viewer(make_report(arms=arms, reference_arm="a")))
    assert len({int(np.argmax(grey)) for grey in shown.values()}) == 1


def test_a_shift_of_the_reference_does_not_blink():
    arms = [make_arm("a", truth_chi_ppm=None), make_arm("b", truth_chi_ppm=None)]
    moved = replace(arms[1], chi_ppm=arms[0].chi_ppm + 0.04 * arms[0].mask)
    one, other = volumes(linked_viewer(make_report(arms=(arms[0], moved), reference_arm="a"))).values()
    assert np.abs(one.astype(int) - other.astype(int)).max() <= 1


def unregistered_arm(reference):
    """The same head on a grid of its own."""
    grid = Grid.centred((30, 30, 10), (2.0, 2.0, 5.0), np.eye(3))
    none = dict.fromkeys(("magnitude", "phase_rad", "total_field_hz", "noise_hz", "local_field_hz", "labels"))
    mask = torch.ones(grid.shape, dtype=torch.bool)
    return replace(
        reference, name="b", grid=grid, chi_ppm=torch.full(grid.shape, 0.1), mask=mask, common_mask=None, **none
    )


def test_maps_that_were_moved_are_shown_inside_the_common_mask():
    """The aligned map lies on the reference's grid, whatever the arm's own grid is, and has the reference's labels."""
    reference = make_arm("a", common_mask=ball(0.5), truth_chi_ppm=None)
    moved = replace(unregistered_arm(reference), aligned_chi_ppm=constant(0.05))
    shown = linked_viewer(make_report(arms=(reference, moved), reference_arm="a"))
    first, second = shown.quantities[0].layers
    assert shown.is_aligned and second.how == MOVED and second.is_comparable and second.labels == first.labels == 0
    greys = volumes(shown)
    assert (greys["b"] == 0).mean() > (greys["a"] == 0).mean(), "the common mask is the smaller one"


def test_an_arm_that_was_not_registered_is_shown_on_its_own_grid_and_not_subtracted():
    reference = make_arm("a", truth_chi_ppm=None)
    shown = linked_viewer(make_report(arms=(reference, unregistered_arm(reference)), reference_arm="a"))
    layer = shown.quantities[0].layers[1]
    assert layer.how == OWN_GRID and not layer.is_comparable and layer.packed.shape != tuple(shown.box["shape"])
    assert set(np.unique(volume(layer.packed))) == {0, 1 + round(LEVELS * 0.3 / 0.5)}, "the map itself, 0.1 ppm"


def test_arms_without_susceptibility_are_named():
    arms = (make_arm("a", truth_chi_ppm=None), make_arm("d", chi_ppm=None, truth_chi_ppm=None))
    shown = linked_viewer(make_report(arms=arms, reference_arm="a"))
    assert shown.missing == ("d: not shown (no susceptibility)",)
    assert shown.names == ("a", "d"), "its magnitude and field are shown"


def test_an_aligned_map_on_another_grid_is_refused():
    arms = (make_arm("a"), make_arm("b", aligned_chi_ppm=torch.zeros(2, 3, 4)))
    with pytest.raises(InputError, match=r"aligned map of arm b has shape \(2, 3, 4\)"):
        make_report(arms=arms, reference_arm="a")


def test_labels_lose_nothing_and_the_first_place_is_in_a_nucleus(report, found):
    labels = volume(found.labels[0])
    inside = report.leading.labels
    assert np.array_equal(np.bincount(labels.ravel(), minlength=15)[1:], np.bincount(inside.ravel(), minlength=15)[1:])
    column, row, k = found.box["start"]
    name, side = label_table()[int(labels[k, row, column])]
    assert (name, side) == ("GPe", "left")
    told = [words for _, words in found.box["labels"]]
    assert told == [f"{FULL_NAMES[name]}, {side}" for name, side in label_table().values()]


def test_packing_is_exact_unless_that_is_too_large(generator):
    grey = torch.randint(0, 256, (7, 20, 30), generator=generator, dtype=torch.uint8).numpy()
    whole = pack(grey)
    assert whole.shape == (30, 20, 7) and whole.error == 0
    assert np.array_equal(volume(whole), grey)
    small = pack(grey, lossless_bytes=100, lossy_bytes=2500)
    assert len(base64.b64decode(small.uri.split(",")[1])) <= 2500 < len(base64.b64decode(whole.uri.split(",")[1]))
    changed = volume(small).astype(float)[grey > 0] - grey[grey > 0]
    assert small.error == pytest.approx(np.sqrt(np.mean(changed**2))) and small.error > 1


def test_greys_are_values_on_the_scale_and_zero_is_unknown():
    values = np.array([[[np.nan, -5.0, -1.0, 0.0, 1.0, 9.0]]])
    assert to_grey(values, Scale(-1.0, 1.0, "Hz")).ravel().tolist() == [0, 1, 1, 128, 255, 255]


def test_what_compression_changed_is_told(report, monkeypatch):
    exact = Reader(participant_page(report)).words
    assert "2.0 ppb (susceptibility, −200 to +300)" in exact
    monkeypatch.setattr(module, "CHI_LOSSLESS_BYTES", 10)
    (chi, *_) = linked_viewer(report).quantities
    assert chi.error > 1
    told = Reader(participant_page(report)).words
    assert f"2.0 ppb (susceptibility, −200 to +300, ± {chi.error:.1f} by compression)" in told


def test_page_says_whether_the_arms_were_registered():
    plain = Reader(participant_page(make_report())).words
    assert "The arms are not registered here: motion of the head between scans blinks too." in plain
    arms = (make_arm("PI2"), make_arm("DL3", aligned_chi_ppm=constant(0.02)))
    moved = Reader(participant_page(make_report(arms=arms))).words
    assert "registered rigidly and resampled for this display only" in moved
    assert "not registered here" not in moved


def test_flicker_starts_only_when_asked_to(page):
    reader = Reader(page)
    play = next(b for b in reader.of("button") if b["name"] == "play")
    assert play["aria-pressed"] == "false"
    period = next(i for i in reader.of("input") if i.get("name") == "period")
    # Two pictures make one flash: 250 ms each are two flashes a second, below the three that WCAG 2.3.1 allows.
    assert int(period["min"]) >= 250
    script = re.search(r"<script>(.*?)</script>", page, flags=re.DOTALL)[1]
    started = [line.strip() for line in script.splitlines() if "setInterval" in line]
    assert len(started) == 1 and "timer = on ?" in started[0], "only play(true) starts it"
    assert script.rstrip().endswith("choose();\n  draw();\n})();")


def test_one_map_alone_has_nothing_to_alternate_with():
    arm = make_arm("only", truth_chi_ppm=None, magnitude=None, local_field_hz=None)
    reader = Reader(participant_page(make_report(arms=(arm,), reference_arm=None)))
    assert {b["name"] for b in reader.of("button")} == {"back", "full"}
    assert not any(i.get("name") in ("second", "difference", "period") for i in reader.of("input"))


def test_script_finds_its_place_in_the_page(page, found):
    root = next(a for _, a in Reader(page).tags if a.get("id") == "viewer")
    assert json.loads(root["data-box"]) == json.loads(json.dumps(found.box))
    assert root["data-difference"] == "-0.05 0.05" and len(root["data-colours"]) == 6 * module.N_COLOURS


def test_browsers_run_this_script_and_no_other(page):
    policy = next(m["content"] for m in Reader(page).of("meta") if m.get("http-equiv") == "Content-Security-Policy")
    script = re.search(r"<script>(.*?)</script>", page, flags=re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; script-src 'sha256-{digest}'; img-src data:; style-src 'unsafe-inline'"
