"""The page says what the data say: read back with an HTML parser and an image decoder."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from made_up import SUMMARY, make_arm, make_regions, make_report
from page_reader import Reader, decode, loads_from_outside

from dlqsm.core.checks import InputError
from dlqsm.core.labels import COLOURS, FULL_NAMES, NUCLEI
from dlqsm.report.numbers import number, signed
from dlqsm.report.page import participant_page
from dlqsm.report.participant import Registration


@pytest.fixture(scope="module")
def page(report):
    return participant_page(report)


@pytest.fixture(scope="module")
def reader(page):
    return Reader(page)


def test_every_arm_and_nucleus_appears(reader):
    for arm in ("PI2", "DL3", "DL4", "DL5"):
        assert arm in reader.words
    for nucleus in NUCLEI:
        assert nucleus in reader.words and FULL_NAMES[nucleus] in reader.words


def test_nucleus_table_equals_the_region_table(report, reader):
    table = next(t for t in reader.tables if t and t[0][:2] == ["Nucleus", "Truth"])
    assert table[0] == ["Nucleus", "Truth", "PI2", "DL3", "DL4", "DL5", "Voxels"]
    assert [row[0] for row in table[1:]] == list(NUCLEI)
    pooled = report.regions[report.regions.side == "both"].set_index(["roi", "arm"])
    for row in table[1:]:
        truth = pooled.loc[(row[0], "PI2"), "truth_ppb"]
        assert row[1] == f"{truth:.1f}"
        for arm, text in zip(("PI2", "DL3", "DL4", "DL5"), row[2:6], strict=True):
            mean = pooled.loc[(row[0], arm), "mean_ppb"]
            assert text == f"{mean:.1f} {mean - truth:+.1f}".replace("-", "−")
        assert row[6] == "24"


def test_sides_have_their_own_tables(reader):
    sides = [t for t in reader.tables if t and t[0][:2] == ["Nucleus", "Truth"]]
    assert [t[1][2].split()[0] for t in sides] == ["11.3", "11.8", "10.8"]


def test_without_truth_errors_are_differences_to_the_reference():
    names = ("PI2", "DL3")
    arms = tuple(make_arm(name, seed=i, truth_chi_ppm=None) for i, name in enumerate(names))
    found = Reader(participant_page(make_report(arms=arms, regions=make_regions(names, truth=False))))
    table = next(t for t in found.tables if t and t[0][0] == "Nucleus")
    assert table[0] == ["Nucleus", "PI2", "DL3", "Voxels"]
    assert table[1] == ["Pu", "11.3", "21.3 +10.0", "24"]
    assert "arm − PI2 [ppb]" in found.words
    assert "Difference to truth" not in found.words and "Difference to PI2" in found.words


def test_arms_say_acceleration_time_and_error(report, reader):
    row = next(t for t in reader.tables if t[0][0] == "Arm")[1]
    assert row[:3] == ["PI2 reference", "2.00", "5:05 min"]
    pooled = report.regions[(report.regions.side == "both") & (report.regions.arm == "PI2")]
    assert row[3] == f"{(pooled.mean_ppb - pooled.truth_ppb).abs().mean():.1f} ppb"
    assert row[4:] == ["irregular", "sense", "10.8 s"]


def test_columns_of_which_nothing_is_known_are_left_out():
    arms = (make_arm("a", None, summary={"seconds": {"field": 2.0}}),)
    found = Reader(participant_page(make_report(arms=arms, regions=pd.DataFrame(), reference_arm=None)))
    assert next(t for t in found.tables if t[0][0] == "Arm") == [["Arm", "Computing"], ["a", "2.0 s"]]


def test_voxel_counts_that_differ_between_arms_are_a_range():
    regions = make_regions(("PI2", "DL3"))
    regions.loc[(regions.arm == "DL3") & (regions.roi == "RN"), "n_voxels"] = 31
    arms = tuple(make_arm(name) for name in ("PI2", "DL3"))
    table = next(t for t in Reader(participant_page(make_report(arms=arms, regions=regions))).tables if "Truth" in t[0])
    assert {row[0]: row[-1] for row in table[1:]}["RN"] == "24–31"


def test_images_decode_carry_content_and_say_what_they_are(reader):
    pictures = reader.of("img")
    # Six quantities and two kinds of differences (7 arms) in three planes, three zooms; the registration's head and
    # zooms; in the viewer three maps of four arms, the truth and the labels of four arms.
    assert len(pictures) == 3 * (6 * 4 + 4 + 3) + 3 * 4 + 4 * 4 + 3 * 4 + 1 + 4
    for picture in pictures:
        pixels = decode(picture["src"])
        assert pixels.std() > (0.1 if picture["alt"].startswith("Labels") else 1), picture["alt"]
        assert len(picture["alt"]) > 20
    alts = [p["alt"] for p in pictures]
    assert any(alt == "Susceptibility of DL4, coronal plane, -0.1 to 0.2 ppm." for alt in alts)
    assert any("difference to truth of dl5, axial" in alt.lower() and "-0.05 to 0.05 ppm" in alt for alt in alts)


def test_pixels_are_the_map_on_the_stated_scale(report, reader):
    """The white of a susceptibility panel is 0.2 ppm, its black -0.1: checked against the voxel values."""
    picture = next(p for p in reader.of("img") if p["alt"].startswith("Susceptibility of PI2, axial"))
    pixels = decode(picture["src"])[..., 0].astype(float)
    arm = report.arms[0]
    inside = arm.chi_ppm[arm.mask].numpy()
    shown = pixels[pixels > 0]
    assert shown.mean() == pytest.approx(255 * (inside.mean() + 0.1) / 0.3, abs=8)
    assert (pixels == 0).mean() > 0.1, "outside the mask is black"


def test_anisotropic_voxels_are_drawn_with_their_aspect(page):
    frames = re.findall(r'aspect-ratio: ([\d.]+)">\s*<img src="[^"]+" alt="([^"]+)" width="(\d+)" height="(\d+)"', page)
    assert len(frames) > 50
    for aspect, alt, columns, rows in frames:
        height_mm = 1.6 if "axial plane" in alt else 4.0
        assert float(aspect) == pytest.approx(int(columns) * 1.6 / (int(rows) * height_mm), rel=1e-3), alt


def test_outlines_use_the_colours_of_the_nuclei(reader):
    strokes = {path["stroke"] for path in reader.of("path") if "stroke" in path}
    assert strokes == set(COLOURS.values())


def test_nothing_is_loaded_from_outside(page, reader):
    assert loads_from_outside(page, reader) == []
    for link in reader.of("a"):
        assert link["href"].startswith(("#", "https://doi.org/10."))


def test_hostile_names_are_text():
    evil = '<script>alert("x")</script>&"\''
    arms = (make_arm(evil, truth_chi_ppm=None, summary={"decisions": {evil: evil}}),)
    page = participant_page(
        make_report(participant=evil, arms=arms, regions=make_regions([evil], truth=False), reference_arm=None)
    )
    assert "<script>alert" not in page
    found = Reader(page)
    assert len(found.of("script")) == 1
    assert 'alert("x")' in found.words
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)


def test_decisions_timings_and_convergence_are_told(reader):
    words = reader.words
    assert "mrad, from the option --phase-unit" in words
    assert "−3.1 ± 20.0 ppb, 411 voxels" in words
    assert "NOT converged, 80 iterations, residual 2.0e-03" in words
    seconds = next(t for t in reader.tables if any(row[0] == "inversion" and row[1] == "9.50" for row in t))
    assert seconds[-1] == ["total", *["10.75"] * 4]


def test_methods_and_reporting_tables_tell_every_arm():
    """An arm that was reconstructed otherwise must not read as the reference does."""
    other = {**SUMMARY, "methods": {**SUMMARY["methods"], "reconstruction": {"method": "cs", "parameters": {}}}}
    arms = (make_arm("PI2"), make_arm("DL3", 3.0, summary=other))
    found = Reader(participant_page(make_report(arms=arms, regions=make_regions(("PI2", "DL3")), similarity=None)))
    assert "ESPIRiT sensitivities (max iterations 30) (arms PI2)" in found.words
    assert "by compressed sensing (arms DL3)" in found.words and "V-SHARP (radii" in found.words
    rows = {row[0]: row[1:] for table in found.tables if table[0] == ["", "PI2", "DL3"] for row in table[1:]}
    assert rows["Acceleration"] == ["net factor 2, irregular sampling", "net factor 3, irregular sampling"]
    assert rows["Phase reconstruction and coil combination"] == ["sense (max iterations 30)", "cs"]
    assert rows["Field strength"] == ["3 T"] and rows["Vendor"] == ["–"]


def test_similarity_is_told_with_its_infinities(reader):
    table = next(t for t in reader.tables if "RMSE [ppb]" in t[0])
    assert table[0] == ["", "RMSE [ppb]", "SSIM", "PSNR [dB]"]
    assert table[1:] == [["DL3", "7.2", "0.912", "∞"], ["DL4", "8.5", "0.887", "31.2"]]


def test_similarity_says_what_an_arm_was_compared_with():
    table = pd.DataFrame([("PI2", "truth", 6.0)], columns=["arm", "reference", "rmse_ppb"])
    found = Reader(participant_page(make_report(similarity=table)))
    assert [["", "compared with", "RMSE [ppb]"], ["PI2", "truth", "6.0"]] in found.tables


def test_echo_of_the_phase_is_told():
    arms = (make_arm("PI2", shown_echo_s=0.0095),)
    assert (
        "Wrapped, as measured. Echo time 9.5 ms."
        in Reader(participant_page(make_report(arms=arms, regions=make_regions(("PI2", "DL3")), similarity=None))).words
    )


def test_phase_poles_are_told_where_they_were_counted(reader):
    arms = (
        make_arm("PI2", summary={**SUMMARY, "phase_poles": [0, 2, 5]}),
        make_arm("DL3", summary={**SUMMARY, "phase_poles": 7}),
        make_arm("DL4"),
        make_arm("DL5", summary={**SUMMARY, "phase_trust": {"poles": {"n_poles": [1, 3], "n_loops": 900}}}),
        make_arm("DL6", summary={**SUMMARY, "phase_trust": {"poles": {}}}),
    )
    words = Reader(
        participant_page(make_report(arms=arms, regions=make_regions(("PI2", "DL3")), similarity=None))
    ).words
    assert "Wrapped, as measured. Phase poles, which no unwrapping can close: PI2 0, 2, 5; DL3 7; DL5 1, 3." in words
    assert "Phase poles" not in reader.words


def test_noise_of_the_field_stands_beside_it_with_its_medians(report, reader):
    noise = "Noise of the field"
    words = reader.words
    assert words.index("Unwrapped, before") < words.index(noise) < words.index("After background removal.")
    assert "Median in the mask [Hz]: PI2 0.5, DL3 0.75, DL4 1, DL5 1.2." in reader.words
    shown = [decode(p["src"]) for p in reader.of("img") if p["alt"].startswith(f"{noise} of ") and "axial" in p["alt"]]
    assert len(shown) == len(report.arms) and all(np.unique(pixels).size == 2 for pixels in shown), "black outside"
    without = Reader(participant_page(make_report(arms=(make_arm("PI2", noise_hz=None),)))).words
    assert "Median in the mask" not in without and "PI2: not shown (not among the data of this arm)" in without


def test_scales_are_stated(reader):
    for scale in ("−0.1 +0.2 ppm", "−0.05 +0.05 ppm", "−π π rad", "−50 +50 Hz", "−6 +6 Hz"):
        assert scale in reader.words


def test_one_arm_without_labels_truth_or_magnitude_says_what_is_missing():
    arm = make_arm("real", None, magnitude=None, labels=None, truth_chi_ppm=None, summary={})
    report = make_report(
        participant="p", arms=(arm,), regions=pd.DataFrame(), similarity=None, reference_arm=None, software={}
    )
    found = Reader(participant_page(report))
    for sentence in (
        "No nucleus was measured: there were no labels.",
        "real: not shown (not among the data of this arm)",
        "No differences: there is neither a reference arm beside another arm nor a truth.",
        "No maps were compared.",
        "The data carry no record of decisions.",
        "No step was timed.",
        "The data carry no record of the methods.",
    ):
        assert sentence in found.words, sentence
    assert len(found.of("img")) == 2 + 3 * 5
    assert "None" not in found.words and "nan" not in found.words.lower().split()


def test_arms_on_other_grids_have_no_difference_and_it_is_said():
    arms = (make_arm("PI2"), make_arm("DL3", seed=1, truth_chi_ppm=None))
    moved = make_arm("DL4", seed=2)
    object.__setattr__(moved, "grid", type(moved.grid)(moved.grid.shape, (1.5, 1.6, 4.0)))
    words = Reader(participant_page(make_report(arms=(*arms, moved)))).words
    assert "DL4: not shown (no susceptibility, or another grid than PI2)" in words
    assert "DL3: not shown (no truth)" in words


def test_not_a_medical_device_and_version_are_told(reader):
    assert "not a medical device" in reader.words
    assert "Made by dlqsm" in reader.words


def test_page_is_the_same_twice(report, page):
    assert participant_page(report) == page


def test_unknown_values_are_dashes():
    assert [signed(None), signed(float("nan")), signed(-1.25), signed(0.04)] == ["–", "–", "−1.2", "+0.0"]
    assert [number(None), number(float("nan")), number(float("inf")), number(-3.0)] == ["–", "–", "∞", "−3.0"]


def test_wrong_shapes_and_reference_arms_are_refused():
    with pytest.raises(InputError, match=r"labels of arm PI2 has shape \(2, 2, 2\)"):
        make_arm(labels=make_arm().labels[:2, :2, :2])
    with pytest.raises(InputError, match="reference arm 'PI9' is not among"):
        make_report(reference_arm="PI9")
    with pytest.raises(InputError, match="mask of arm PI2 is empty"):
        make_arm(mask=torch.zeros(make_arm().grid.shape, dtype=torch.bool))
    with pytest.raises(InputError, match="at least one arm"):
        make_report(arms=())
    assert SUMMARY["methods"]["reference"] == "brain"


def test_six_arms_have_six_marks():
    """The reference and its repeat stand in one picture: they must not look the same."""
    names = ("PI2", "DL3", "DL4", "DL5", "PI2rep", "DL6")
    page = participant_page(make_report(arms=tuple(map(make_arm, names)), regions=make_regions(names)))
    key = re.search(r'<g class="key">(.*?)<text', page, flags=re.DOTALL)
    assert key
    classes = re.findall(r'<g class="(a\d)">', page)
    assert len(set(classes[:6])) == 6


def test_a_page_without_alarms_has_no_panel_of_them(page):
    assert 'id="alarms"' not in page


def test_alarms_stand_first_once_for_arms_that_share_them_and_escaped():
    shared = {
        "name": "b0_axis",
        "level": "stop",
        "value": 2.0,
        "limit": 1.0,
        "text": "the field is full: B0 is <b>; turn it",
    }
    own = {
        "name": "rotation",
        "level": "flag",
        "value": 5.0,
        "limit": 4.0,
        "text": "the rotation is 5: it moved; mind it",
    }
    arms = (
        make_arm("PI2", summary={**SUMMARY, "alarms": [shared]}),
        make_arm("DL3", 3.0, summary={**SUMMARY, "alarms": [shared]}, registration=Registration(alarms=(own,))),
    )
    page = participant_page(make_report(arms=arms, regions=make_regions(("PI2", "DL3")), similarity=None))
    panel = page.partition('id="alarms"')[2].partition("</section>")[0]
    assert page.index('id="alarms"') < page.index('id="maps"')
    words = " ".join(re.sub(r"<[^>]+>", " ", panel).split())
    assert "2 alarms b0 axis accepted: all arms The field is full. B0 is &lt;b&gt;; turn it." in words
    assert "rotation flag: DL3 The rotation is 5. It moved; mind it." in words
