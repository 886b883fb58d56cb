"""The choice of a method by name, and options read from its signature."""

import pytest

from dlqsm.core.checks import InputError
from dlqsm.core.methods import choose, options_of, resolved_options


def smooth(
    values: float, *, strength: float = 0.5, radii_mm: tuple[float, ...] = (3.0, 2.0), fast: bool = True
) -> float:
    """Smooth.

    Parameters
    ----------
    values
        What is smoothed.
    strength
        How much [ppm]. Larger
        is smoother.
    radii_mm, fast
        Shared words.

    Returns
    -------
    float
    """
    del radii_mm, fast
    return values * strength


TABLE = {"smooth": smooth, "none": lambda values: values}


def test_options_come_from_signature_and_docstring() -> None:
    options = options_of(smooth)
    assert list(options) == ["strength", "radii_mm", "fast"]
    assert options["strength"].help == "How much [ppm]. Larger is smoother."
    assert options["radii_mm"].help == options["fast"].help == "Shared words."
    assert (options["strength"].kind, options["radii_mm"].kind, options["fast"].kind) == (float, tuple, bool)


def test_a_chosen_method_has_its_options_bound() -> None:
    bound = choose("smoothing", TABLE, "smooth", {"strength": 2.0})
    assert bound(3.0) == 6.0
    assert resolved_options(bound) == {"strength": 2.0, "radii_mm": (3.0, 2.0), "fast": True}
    assert resolved_options(smooth)["strength"] == 0.5


def test_unknown_names_are_refused_with_what_there_is() -> None:
    with pytest.raises(InputError, match="unknown smoothing method 'blur'; choose one of smooth, none"):
        choose("smoothing", TABLE, "blur")
    with pytest.raises(InputError, match=r"no option 'strenght'; its options are: strength, radii_mm, fast"):
        choose("smoothing", TABLE, "smooth", {"strenght": 1.0})
