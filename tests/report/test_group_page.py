"""The group page says what the tables say: every figure read back, what is missing named, labels harmless."""

import base64

import numpy as np
import pandas as pd
import pytest
from made_up_group import (
    ANSWER,
    ARMS,
    MIXED_ACCOUNT,
    PEOPLE,
    SVG,
    make_group,
)
from page_reader import Reader, by_nucleus, loads_from_outside, minus, p_text, table_with

from dlqsm.core.labels import FULL_NAMES, NUCLEI
from dlqsm.report.group import GroupFigure
from dlqsm.report.group_page import group_page


@pytest.fixture(scope="module")
def group():
    return make_group()


@pytest.fixture(scope="module")
def page(group):
    return group_page(group)


@pytest.fixture(scope="module")
def reader(page):
    return Reader(page)


def test_head_counts_people_arms_and_margin(reader):
    assert "A made-up cohort" in reader.words
    assert "8 participants · age 21–28 years · 4 arms · reference PI2 · margin ±3 ppb" in reader.words
    arms = table_with(reader, "Measured", "Missing")
    assert arms[1:] == [
        ["PI2 reference", "8 of 8", "none"],
        ["DL3", "8 of 8", "none"],
        ["DL4", "7 of 8", "sub-03"],
        ["PI2rep repeat of the reference", "8 of 8", "none"],
    ]


def test_every_number_of_agreement_equals_the_table(group, reader):
    sides = [t for t in reader.tables if "CCC" in t[0]]
    assert len(sides) == 3
    for side, table in zip(("both", "left", "right"), sides, strict=True):
        shown = by_nucleus(table)
        assert list(shown) == [(roi, arm) for roi in NUCLEI for arm in ARMS[1:]]
        rows = group.agreement[group.agreement.side == side].set_index(["roi", "arm"])
        for key, cells in shown.items():
            row = rows.loc[key]
            assert cells[:12] == [
                f"{row.n:.0f}",
                minus(f"{row.pearson_r:.3f}"),
                minus(f"{row.bias_ppb:+.2f} {row.bias_low_ppb:+.2f} to {row.bias_high_ppb:+.2f}"),
                minus(f"{row.loa_low_ppb:+.1f} to {row.loa_high_ppb:+.1f}"),
                f"{row.sd_ppb:.2f}",
                "floor" if key[1] == "PI2rep" else f"{row.sd_over_repeat:.1f} × {ratio_ends(row)}",
                f"{row.percent_difference:.1f}",
                minus(f"{row.icc:.3f} {row.icc_low:.3f} to {row.icc_high:.3f}"),
                f"{row.ccc:.3f}",
                f"{p_text(row.tost_p)} {p_text(row.tost_p_holm)}",
                f"{p_text(row.p)} {p_text(row.p_holm)}",
                verdict(row),
            ]


def ratio_ends(row):
    return f"{row.sd_over_repeat_low:.2f} to {row.sd_over_repeat_high:.2f}"


def verdict(row):
    """Written out once more, from the words under the table."""
    if row.tost_p < 0.05:
        return "shifted" if row.p_holm < 0.05 else "equivalent"
    return "differs" if row.p_holm < 0.05 else "undecided"


def test_overview_shows_bias_spread_and_verdict_in_words(group, reader):
    table = table_with(reader, "PI2rep the floor")
    assert [row[0] for row in table[1:]] == [f"{roi} {FULL_NAMES[roi]}" for roi in NUCLEI]
    rows = group.agreement[group.agreement.side == "both"].set_index(["roi", "arm"])
    seen = set()
    for line, roi in zip(table[1:], NUCLEI, strict=True):
        for arm, text in zip(ARMS[1:], line[1:], strict=True):
            row = rows.loc[(roi, arm)]
            assert text == minus(f"{row.bias_ppb:+.2f} ± {1.96 * row.sd_ppb:.1f} {verdict(row)}")
            seen.add(verdict(row))
    assert seen == {"equivalent", "shifted", "differs", "undecided"}, "every verdict is tried"


def test_means_of_the_nuclei_are_those_of_the_values(group, reader):
    table = next(t for t in reader.tables if t[0] == ["Nucleus", *ARMS])
    both = group.values[group.values.side == "both"]
    assert [row[0] for row in table[1:]] == list(NUCLEI)
    for row in table[1:]:
        for arm, text in zip(ARMS, row[1:], strict=True):
            own = both[(both.roi == row[0]) & (both.arm == arm)].mean_ppb
            assert text == f"{own.mean():.1f} ± {own.std():.1f}"


def test_every_number_of_age_equals_the_table(group, reader):
    shown = by_nucleus(table_with(reader, "Slope", "p against PI2"))
    assert len(shown) == len(group.age)
    for row in group.age.itertuples():
        is_reference = np.isnan(row.p_against_reference)
        against = "–" if is_reference else f"{row.p_against_reference:.3f}"
        ends = minus(f"{row.slope_difference_low:+.3f} to {row.slope_difference_high:+.3f}")
        change = minus(f"{row.slope_difference_ppb_per_year:+.3f}")
        assert shown[(row.roi, row.arm)] == [
            str(row.n),
            minus(f"{row.pearson_r:.3f}"),
            f"{row.p:.3f}",
            minus(f"{row.slope_ppb_per_year:+.3f}"),
            minus(f"{row.low:+.3f} to {row.high:+.3f}"),
            against,
            *(["–"] * 3 if is_reference else [change, ends, f"{row.slope_tost_p:.3f}"]),
        ]


def test_participants_link_to_their_pages_and_say_what_they_lack(reader):
    table = table_with(reader, "Participant", "Age", "Sex")
    assert [row[0] for row in table[1:]] == list(PEOPLE)
    assert table[1] == ["sub-01", "21", "M", "✓", "✓", "✓", "✓", "4 of 4"]
    assert table[3] == ["sub-03", "23", "M", "✓", "✓", "missing", "✓", "3 of 4 DL4: the raw data end early"]
    links = [a["href"] for a in reader.of("a") if a["href"].endswith(".html")]
    assert links == [f"{person}.html" for person in PEOPLE]


def test_registrations_are_told_and_outliers_flagged_in_words(group, reader):
    table = next(t for t in reader.tables if t[0] == ["Participant", *ARMS])
    flagged = {
        (row[0], arm) for row in table[1:] for arm, text in zip(ARMS, row[1:], strict=True) if "low score" in text
    }
    assert flagged == {("sub-05", "DL3")}
    cells = {(row[0], arm): text for row in table[1:] for arm, text in zip(ARMS, row[1:], strict=True)}
    assert cells[("sub-06", "DL4")].endswith("coverage 94 %"), "rounded down: 94.9 must not read as 95"
    for row in group.registration.itertuples():
        assert cells[(row.participant_id, row.arm)].startswith(
            f"{row.score:.3f} {row.shift_mm:.2f} mm, {row.rotation_deg:.2f}°"
        )


def test_similarity_is_mean_and_sd_over_participants(group, reader):
    table = next(t for t in reader.tables if "RMSE [ppb]" in t[0])
    assert table[0] == ["", "n", "RMSE [ppb]", "SSIM"]
    for arm, line in zip(ARMS[1:], table[1:], strict=True):
        own = group.similarity[group.similarity.arm == arm]
        assert line == [
            arm,
            "8",
            f"{own.rmse_ppb.mean():.1f} ± {own.rmse_ppb.std():.1f}",
            f"{own.ssim.mean():.3f} ± {own.ssim.std():.3f}",
        ]


def test_the_answer_comes_first(page, reader):
    assert all(sentence in reader.words for sentence in ANSWER)
    assert page.index(ANSWER[0]) < page.index("Agreement with PI2")
    assert 'id="answer"' not in group_page(make_group(answer=()))


def test_the_mixed_model_is_told_with_its_doubts(reader):
    table = next(t for t in reader.tables if t[0] == ["", "Estimate", "95 % CI", "p"])
    assert table[1:] == [
        ["DL3 − PI2, all nuclei", "+0.31 ppb", "+0.11 to +0.51", "0.004"],
        ["DL3 − PI2rep, all nuclei", "−0.42 ppb", "−0.92 to +0.08", "0.090"],
        ["trend over DL3, DL4, all nuclei", "−0.65 ppb per unit of acceleration", "−0.85 to −0.45", "< 0.001"],
        ["trend over DL3, DL4, putamen", "−0.75 ppb per unit of acceleration", "−0.95 to −0.55", "< 0.001"],
        ["F test: arms differ by nucleus", "1.46", "–", "0.140"],
        ["SD of a nucleus in a person, shared by all arms", "2.04 ppb", "–", "–"],
    ]
    assert "It converged. Variances at zero: participant." in reader.words
    doubtful = Reader(group_page(make_group(mixed_account={**MIXED_ACCOUNT, "Converged": False}))).words
    assert "It did not converge: do not rely on it." in doubtful and "It converged" not in doubtful


def test_other_definitions_stand_beside_the_published_figures(reader):
    tables = [t for t in reader.tables if "Voxels" in t[0]]
    assert [t[0][0] for t in tables] == ["Data range", "Peak"]
    similar, ratio = tables
    assert similar[0][3:] == ["", "Distance", "DL3", "DL4", "PI2rep"]
    # |0.84 - 0.87| and |0.84 + 1/64 - 0.86|, their mean 0.017; the published arms DL3 and DL4 alone count.
    assert similar[2] == ["1 ppm", "brain", "3-D", "nearest", "0.017", "0.840 (0.810–0.910)", "0.856 (0.810–0.910)",
                          "0.871 (0.810–0.910)"]  # fmt: skip
    assert similar[1][0] == "0.5 ppm" and similar[1][3] == "primary"
    assert similar[3][5:8] == ["0.870 (0.820–0.890)", "0.860 (0.770–0.890)", "–"]
    assert ratio[3][5:7] == ["44.56 (37.31–52.12)", "44.53 (37.42–53.10)"]
    assert "SSIM by 1 ppm, brain, 3-D; PSNR [dB] by 1 ppm, brain, 3-D" in reader.words


def test_figures_are_embedded_and_described(reader):
    example, picture, beside = reader.of("img")
    assert example["alt"] == "Maps of sub-04." and example["src"].startswith("data:image/webp;base64,")
    assert beside["alt"].startswith("Filled: this study; open: Zhou et al. 2025.")
    assert picture["alt"] == "A picture of equivalence."
    kind, content = picture["src"].split(";base64,")
    assert kind == "data:image/svg+xml" and base64.b64decode(content) == SVG
    sized = GroupFigure("t", "n", "a", b'<?xml version="1.0"?><svg height="9pt" width="100pt"></svg>')
    assert sized.width_px == 190 and "--wide: 190px" in group_page(make_group(figures=(sized,)))
    png = GroupFigure("t", "n", "a", b"\x89PNG\r\n")
    assert png.width_px is None
    assert png.uri.startswith("data:image/png;base64,")


def test_nothing_is_loaded_from_outside(page, reader):
    assert loads_from_outside(page, reader) == []
    for link in reader.of("a"):
        assert link["href"].startswith(("#", "https://doi.org/10.", "sub-"))
    assert not reader.of("script")


def test_methods_name_sources_and_the_notice_stands(reader):
    assert "not a medical device" in reader.words
    sources = {a["href"] for a in reader.of("a") if "doi.org" in a["href"]}
    assert {"https://doi.org/10.1007/BF01068419", "https://doi.org/10.2307/2532051"} <= sources
    assert "two one-sided t tests" in reader.words and "L1 penalty" in reader.words
    assert "Software: dlqsm 0.1.0." in reader.words


def test_page_is_the_same_twice(page):
    assert group_page(make_group()) == page


def test_alarms_name_who_has_them_in_which_arms(page):
    assert "No arm of the measured participants raised an alarm" in page
    rows = [
        ("sub-01", "DL3", "rotation", "flag", "the rotation is 5: it moved; mind it"),
        ("sub-01", "DL4", "rotation", "flag", "the rotation is 6: it moved; mind it"),
        ("sub-02", "DL3", "rotation", "flag", "the rotation is 7: it moved; mind it"),
        ("sub-02", "PI2", "b0_axis", "stop", "the field is full: <i>; turn it"),
    ]
    columns = ["participant_id", "arm", "alarm", "level", "text"]
    alarmed = group_page(make_group(alarms=pd.DataFrame(rows, columns=columns)))
    table = table_with(Reader(alarmed), "Alarm", "Participants")
    assert table[1] == ["rotation", "2: sub-01 DL3, DL4 , sub-02 DL3", "It moved; mind it."]
    assert table[2] == ["b0 axis accepted", "1: sub-02 PI2", "<i>; turn it."]
    assert "<i>; turn" not in alarmed
