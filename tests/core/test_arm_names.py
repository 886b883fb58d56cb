"""What names of arms tell of acceleration."""

import pytest

from dlqsm.core.arm_names import family_of, named_acceleration, repeat_among
from dlqsm.core.checks import InputError


@pytest.mark.parametrize(
    ("name", "factor", "family"),
    [
        ("PI2", 2.0, "PI#"),
        ("PI2rep", 2.0, "PI#rep"),
        ("DL10", 10.0, "DL#"),
        ("DL3_joint", 3.0, "DL#_joint"),
        ("FULL", 1.0, "FULL"),
        ("FULL_recAF5joint", 5.0, "FULL_recAF#joint"),
        ("PI2_recAF4.5cs", 4.5, "PI2_recAF#cs"),
        ("FULL_recAF2p5s1", 2.5, "FULL_recAF#s1"),
        ("ses-02", None, "ses-02"),
        ("sense", None, "sense"),
    ],
)
def test_factor_and_family(name, factor, family):
    assert (named_acceleration(name), family_of(name)) == (factor, family)


@pytest.mark.parametrize(
    ("reference", "others", "repeat"),
    [
        ("PI2", ("DL3", "PI2rep"), "PI2rep"),
        ("PI2_sense", ("PI2_cs", "PI2rep_cs", "PI2rep_sense"), "PI2rep_sense"),
        ("PI2_run1", ("DL3_run1", "PI2_run2"), "PI2_run2"),
        ("PI2_run1", ("PI2_run10", "PI2_run2", "PI2rep_run1"), "PI2rep_run1"),
        ("PI2_run1", ("PI2_run10", "PI2_run2"), "PI2_run2"),
        ("PI2_run2", ("PI2_run1", "PI2_run3"), "PI2_run3"),
        ("PI2_run3", ("PI2_run1", "PI2_run2"), "PI2_run1"),
        ("PI2", ("DL3", "PI2_run2"), "PI2_run2"),
        ("PI2_run1_sense", ("PI2_run1_cs", "PI2_run2_cs", "PI2_run2_sense"), "PI2_run2_sense"),
        ("ses1_PI2", ("ses1_DL3", "ses2_DL3", "ses2_PI2"), "ses2_PI2"),
        ("ses1_run1", ("ses1_run2", "ses2_run1"), "ses1_run2"),
        ("ses-01", ("ses-02",), "ses-02"),
        ("PI2", ("DL3", "PI2_joint", "PI20", "sense"), None),
        ("PI2", (), None),
    ],
)
def test_which_arm_repeats_the_reference(reference, others, repeat):
    assert repeat_among((reference, *others), reference) == repeat
    assert repeat_among(reversed((*others, reference)), reference) == repeat, "whatever the order"


def test_a_repeat_that_is_named_goes_before_names():
    arms = ("PI2", "PI2rep", "again")
    assert repeat_among(arms, "PI2", "again") == "again"
    for named in ("PI2", "absent"):
        with pytest.raises(
            InputError,
            match=f"repeat arm '{named}' is not an arm beside the reference PI2; the others are PI2rep, again",
        ):
            repeat_among(arms, "PI2", named)
