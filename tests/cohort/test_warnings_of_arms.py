"""Which arm a warning is about."""

import pytest

from dlqsm.cohort.nuclei_stage import is_about


@pytest.mark.parametrize(
    ("sentence", "arms"),
    [
        ("arm PI2: fewer than 10 voxels: SNc left 6", ["PI2"]),
        ("arm PI2rep: fewer than 10 voxels: SNc left 6", ["PI2rep"]),
        ("arm PI2rep: may show another head than arm PI2 (0.81)", ["PI2rep"]),
        ("the atlas lies badly; arm PI2", []),
    ],
)
def test_a_warning_is_about_the_arm_that_it_begins_with(sentence: str, arms: list[str]) -> None:
    assert [arm for arm in ("PI2", "PI2rep", "DL3") if is_about(arm, sentence)] == arms
