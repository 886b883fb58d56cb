"""Figures of agreement: what stands in them, and tables that leave little to draw."""

import re

import numpy as np
import pandas as pd
import pytest

from dlqsm.report.agreement_figures import age_figure, bland_altman_figure, correlation_figure
from dlqsm.report.agreement_forest import age_slopes_figure, equivalence_figure
from dlqsm.report.agreement_latex import latex_tables
from dlqsm.report.agreement_style import p_text, plain, png_bytes, signed, svg_bytes

ROIS, PEOPLE = ("RN", "Pu", "thalamus"), 8


@pytest.fixture
def values():
    rng = np.random.default_rng(0)
    rows = [
        (f"sub-{i}", 30.0 + 4 * i, arm, roi, "both", 50 + 10 * j + 3 * i + rng.normal(0, 2))
        for i in range(PEOPLE)
        for arm in ("PI2", "DL3_cs", "PI2rep")
        for j, roi in enumerate(ROIS)
    ]
    return pd.DataFrame(rows, columns=["participant_id", "age", "arm", "roi", "side", "mean_ppb"])


@pytest.fixture
def agreement():
    numbers = {
        "n": PEOPLE, "bias_ppb": 1.0, "bias_low_ppb": -0.5, "bias_high_ppb": 2.5, "loa_low_ppb": -3.0,
        "loa_high_ppb": 5.0, "loa_low_low_ppb": -6.0, "loa_low_high_ppb": -2.0, "loa_high_low_ppb": 4.0,
        "loa_high_high_ppb": 8.0, "pearson_r": 0.9, "icc": 0.91, "icc_low": 0.8, "icc_high": 0.95, "deming_slope": 1.1,
        "tost_p": 0.01, "tost_low_ppb": -0.2, "tost_high_ppb": 2.2, "margin_ppb": 3.0, "repeatability_ppb": 4.0,
        "percent_difference": 2.0, "p_holm": 0.2,
    }  # fmt: skip
    return pd.DataFrame(
        [{"arm": arm, "roi": roi, "side": "both", **numbers} for arm in ("DL3_cs", "PI2rep") for roi in ROIS]
    )


@pytest.fixture
def age():
    numbers = {"n": PEOPLE, "pearson_r": 0.9, "p": 0.001, "slope_ppb_per_year": 0.7, "low": 0.5, "high": 0.9}
    numbers |= {"intercept_ppb": 30.0, "p_against_reference": 0.4}
    return pd.DataFrame([{"arm": arm, "roi": roi, **numbers} for arm in ("PI2", "DL3_cs", "PI2rep") for roi in ROIS])


def _drawn(values, agreement, age, repeat="PI2rep"):
    named = {"reference": "PI2", "repeat": repeat}
    return [
        bland_altman_figure(values, agreement, **named),
        correlation_figure(values, agreement, **named),
        age_figure(values, age, **named),
        equivalence_figure(agreement, **named),
        age_slopes_figure(age, **named),
    ]


def _words(figure):
    return [re.sub(r"<[^>]+>", "", text) for text in re.findall(r"<text.*?</text>", svg_bytes(figure).decode(), re.S)]


def test_nuclei_come_in_their_order_and_others_after_them(values, agreement, age):
    for figure in _drawn(values, agreement, age):
        words = [word.strip() for word in _words(figure)]
        assert [word for word in words if word in ROIS] == ["Pu", "RN", "thalamus"]


def test_units_counts_and_the_repeat_are_told(values, agreement, age):
    for figure in _drawn(values, agreement, age):
        text = " ".join(_words(figure))
        assert "ppb" in text and "PI2rep (repeat)" in text and "DL3_cs" in text
        assert "n = 8" in text or " 8 " in text


def test_the_floor_stands_in_the_figures_of_agreement(values, agreement, age):
    for figure in _drawn(values, agreement, age)[:2]:
        assert "of PI2rep" in " ".join(_words(figure))
    for figure in _drawn(values, agreement, age, repeat=None)[:2]:
        assert "grey" not in " ".join(_words(figure))


def test_the_same_bytes_again(values, agreement, age):
    for first, again in zip(_drawn(values, agreement, age), _drawn(values, agreement, age), strict=True):
        assert svg_bytes(first) == svg_bytes(again)


def test_points_at_the_end_of_an_axis_are_whole():
    """Panels of a row share their axes: a point at the end of a wide axis needs more room than its own panel gives."""
    shifts = {"PI2": (0.0, 0.0), "DL3": (-14.0, -4.0), "PI2rep": (2.0, 1.9)}
    rows = [
        (f"sub-{i}", 30.0 + i, arm, "Pu", "both", 50.0 + i + shift[i]) for arm, shift in shifts.items() for i in (0, 1)
    ]
    values = pd.DataFrame(rows, columns=["participant_id", "age", "arm", "roi", "side", "mean_ppb"])
    agreement = pd.DataFrame([{"arm": arm, "roi": "Pu", "side": "both", "n": 2} for arm in ("DL3", "PI2rep")])
    age = pd.DataFrame([{"arm": arm, "roi": "Pu", "n": 2} for arm in shifts])
    radius = 3.0 / 2 / 72  # inches: the area of a point is 9 square points
    drawn = [make(values, table, reference="PI2", repeat="PI2rep") for make, table in
             ((bland_altman_figure, agreement), (correlation_figure, agreement), (age_figure, age))]  # fmt: skip
    for figure in drawn:
        for axes in figure.axes:
            box = axes.get_window_extent()
            at = axes.transData.transform(axes.collections[-1].get_offsets())
            room = min((at - box.min).min(), (box.max - at).min()) / figure.dpi
            assert room > radius, (figure, axes)


def test_every_person_is_a_point(values, agreement, age):
    values = values[~((values["participant_id"] == "sub-3") & (values["arm"] == "PI2"))]
    for figure in _drawn(values, agreement, age)[:2]:
        points = [axes.collections for axes in figure.axes]
        counts = [max(len(c.get_offsets()) for c in found if hasattr(c, "get_sizes")) for found in points]
        assert counts == [PEOPLE - 1] * 6


def test_a_filled_mark_is_an_equivalence(agreement):
    agreement.loc[0, "tost_p"] = 0.2
    marks = [line for line in equivalence_figure(agreement, reference="PI2").axes[0].lines if line.get_marker() == "s"]
    assert sorted(mark.get_markerfacecolor() == "white" for mark in marks) == [False] * 5 + [True]


def test_rows_without_statistics_are_drawn(values, agreement, age):
    keep = ["arm", "roi", "side", "n", "margin_ppb"]
    few = agreement.drop(columns=[name for name in agreement if name not in keep]).assign(n=2)
    none = age[["arm", "roi", "n"]].assign(n=0)
    some = values[values["participant_id"] == "sub-0"]
    for figure in [*_drawn(some, few, none), *_drawn(values.iloc[:0], few, none)]:
        assert png_bytes(figure, dpi=30).startswith(b"\x89PNG")
    assert "--" in latex_tables(few, none, reference="PI2", margin_ppb=3.0)


def test_latex_escapes_names(agreement, age):
    text = latex_tables(agreement, age, reference="PI2", margin_ppb=3.0)
    assert r"DL3\_cs" in text and "DL3_cs" not in text
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") for line in lines} == {11, 7, 8}


def test_latex_sets_the_repeat_under_the_arms_of_each_nucleus(agreement, age):
    text = latex_tables(agreement.assign(sd_ppb=2.5), age, reference="PI2", margin_ppb=3.0, repeat="PI2rep")
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip()
    blocks = [block.strip().splitlines() for block in body.split(r"\addlinespace")]
    assert len(blocks) == len(ROIS)
    for roi, (arm, floor) in zip(("Pu", "RN", "thalamus"), blocks, strict=True):
        assert arm.startswith(rf"{roi} & DL3\_cs & ") and floor.startswith(r" & \textsl{PI2rep} & ")
    assert "Slanted: PI2rep, the repeat of PI2" in text and "adjusted apart from those of the other arms" in text


def test_numbers_as_text():
    assert signed(-1.26) == "−1.3"
    assert signed(-0.01) == "0.0"
    assert signed(float("nan")) == "n/a"
    assert plain(0.978, 2) == "0.98"
    assert (p_text(0.0002), p_text(0.0293), p_text(0.72), p_text(float("nan"))) == (
        "p < 0.001", "p = 0.029", "p = 0.72", "p n/a",
    )  # fmt: skip
