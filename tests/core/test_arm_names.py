"""What names of arms tell of acceleration."""

import pytest

from dlqsm.core.arm_names import family_of, named_acceleration


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
