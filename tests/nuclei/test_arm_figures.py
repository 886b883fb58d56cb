"""Figures of arms beside each other: sides, acceleration by name, noise by plan, and what an account tells."""

import dataclasses
import math

import pytest
import torch

from dlqsm.core.alarms import FAMILY, alarms_of
from dlqsm.core.labels import label_table
from dlqsm.core.scan import Grid
from dlqsm.pipeline.arm_figures import ScanFacts, figures_beside, least_side_distance_mm, registration_alarm_figures
from dlqsm.pipeline.map_figures import coil_figures

GRID = Grid((20, 16, 4), (2.0, 2.0, 2.0))
FACTS = {
    "PI2": ScanFacts(2.0, 1.0),
    "DL3": ScanFacts(1.6, 1.1),
    "DL5": ScanFacts(2.3, 1.3),
    "other": ScanFacts(),
}


def _labels() -> torch.Tensor:
    labels = torch.zeros(GRID.shape, dtype=torch.uint8)
    for number, (_, side) in label_table().items():
        labels[4 if side == "left" else 14, number, 1:3] = number
    return labels


def test_right_nuclei_lie_right_unless_something_is_mirrored() -> None:
    names = label_table()
    assert least_side_distance_mm(_labels(), GRID, names) == {"sides": 20.0}
    mirrored = least_side_distance_mm(_labels().flip(0), GRID, names)
    assert mirrored["sides"] < 0.0
    assert [(a.name, a.level) for a in alarms_of(mirrored, FAMILY)] == [("sides", "stop")]
    # The same array on a grid whose x runs to the left.
    other = dataclasses.replace(GRID, rotation=((-1.0, 0.0, 0.0), *GRID.rotation[1:]))
    assert least_side_distance_mm(_labels(), other, names)["sides"] == -20.0
    assert least_side_distance_mm(torch.zeros(GRID.shape), GRID, names) == {}


def test_arms_of_one_family_accelerate_as_their_names_say() -> None:
    assert figures_beside("DL5", FACTS, "PI2")["acceleration"] == pytest.approx(1.6 / 2.3)
    assert "acceleration" not in figures_beside("DL3", FACTS, "PI2")  # there is no lower factor
    assert "acceleration" not in figures_beside("PI2", FACTS, "PI2")
    swapped = {**FACTS, "DL3": FACTS["DL5"], "DL5": FACTS["DL3"]}
    (alarm,) = alarms_of(figures_beside("DL5", swapped, "PI2"), FAMILY)
    assert alarm.name == "acceleration" and alarm.value == pytest.approx(2.3 / 1.6)


def test_noise_is_judged_by_the_root_of_the_acceleration() -> None:
    assert figures_beside("DL5", FACTS, "PI2")["noise_over_plan"] == pytest.approx(1.3 / math.sqrt(2.3 / 2.0))
    assert "noise_over_plan" not in figures_beside("PI2", FACTS, "PI2")
    assert figures_beside("other", FACTS, "PI2") == {}
    assert figures_beside("DL5", FACTS, "nobody").keys() == {"acceleration"}


def test_an_account_tells_its_figures() -> None:
    account = {
        "rotation_deg": 5.0,
        "translation_mm": 1.0,
        "local_correlation": {"before": 0.5, "after": 0.7},
        "placement": {"local_correlation": {"before": 0.6, "after": 0.4}},
        "coverage": {"Pu_left": {"field_of_view": 1.0, "valid": 0.95}, "Pu_right": {"valid": 0.8}},
    }
    figures = registration_alarm_figures(account)
    assert figures == {
        "atlas_score": 0.4, "arm_score": 0.7, "rotation": 5.0, "translation": 1.0, "coverage": 0.8,
    }  # fmt: skip
    assert {a.name for a in alarms_of(figures, FAMILY)} == {"atlas_score", "arm_score", "rotation", "coverage"}
    assert registration_alarm_figures({}) == {}


def test_silent_coils_are_a_share() -> None:
    assert coil_figures({"n_silent_coils": 2, "n_coils": 8}) == {"silent_coils": 0.25}
    assert coil_figures({}) == {}
