"""What names of arms tell: acceleration, what is left without it, which arm is the reference and which its repeat."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from dlqsm.core.checks import InputError

USUAL_REFERENCE: Final = "PI2"
REPEAT_ENDING: Final = "rep"
FULLY_SAMPLED: Final = "FULL"
_FACTOR: Final = re.compile(r"(?:PI|DL|AF)(\d+(?:[.p]\d+)?)")
"""A point of the factor is a p in labels of BIDS, which have letters and digits only."""
_MASKED: Final = "#"
_SEED: Final = re.compile(rf"{_MASKED}s\d+")
"""The seed of a sampling mask behind the factor, as `dlqsm undersample` writes it where there are several."""
_SESSION: Final = re.compile(r"ses-?[0-9a-zA-Z+]+")
_RUN: Final = re.compile(r"run-?\d+")


def reference_among(arms: Sequence[str], wanted: str | None) -> str:
    """The reference arm: what was asked for, else PI2, else the first; ``PI2`` means the first ``PI2_*`` too.

    Raises
    ------
    InputError
        If no participant has the arm that was asked for.
    """
    for name in (wanted,) if wanted else (USUAL_REFERENCE, arms[0]):
        found = [arm for arm in arms if arm == name or arm.startswith(f"{name}_")]
        if found:
            return name if name in found else found[0]
    raise InputError(f"no participant has the reference arm '{wanted}'; choose one of {', '.join(arms)}")


def repeat_among(arms: Iterable[str], reference: str, named: str | None = None) -> str | None:
    """The second scan by the reference: what was named, else what names tell; None where they tell none.

    ``PI2`` has the repeat ``PI2rep``, and ``PI2_sense``, of several reconstructions of each scan, ``PI2rep_sense``.
    Else it is an arm whose name differs in run or session alone, as ``PI2_run2`` from ``PI2_run1``: of several the
    first behind the reference.

    Raises
    ------
    InputError
        If the arm that was named is none beside the reference.
    """
    others = [arm for arm in by_name(arms) if arm != reference]
    if named is not None and named not in others:
        raise InputError(
            f"the repeat arm '{named}' is not an arm beside the reference {reference}; the others are "
            f"{', '.join(others)}"
        )
    scan, mark, method = reference.partition("_")
    told = (named, f"{reference}{REPEAT_ENDING}", f"{scan}{REPEAT_ENDING}{mark}{method}")
    in_order = by_name([*others, reference])
    place = in_order.index(reference)
    behind_first = [*in_order[place + 1 :], *in_order[:place]]
    alike = [arm for arm in behind_first if _without_repeats(arm) == _without_repeats(reference)]
    return next((arm for arm in (*told, *alike) if arm in others), None)


def _without_repeats(arm: str) -> list[str]:
    """The words of a name but those of session and run."""
    first, *rest = arm.split("_")
    return [word for word in (*(() if _SESSION.fullmatch(first) else (first,)), *rest) if not _RUN.fullmatch(word)]


def by_name(names: Iterable[str]) -> list[str]:
    """Each name once, sorted as people do: numbers inside by value."""
    return sorted(set(names), key=_words_and_numbers)


def _words_and_numbers(name: str) -> list[str | int]:
    # Text and numbers alternate, text first, so that places of two names compare like with like.
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", name))]


def named_acceleration(arm: str) -> float | None:
    """Acceleration factor in the name of an arm; None where it tells none.

    ``PI2``, ``DL3``, ``PI2rep``, ``DL3_joint`` and ``FULL_recAF5joint`` tell 2, 3, 2, 3 and 5: of several factors the
    last, since the reconstruction is named behind the scan. ``FULL`` alone is 1.
    """
    found = _FACTOR.findall(arm)
    if found:
        return float(found[-1].replace("p", "."))
    return 1.0 if arm.startswith(FULLY_SAMPLED) else None


def family_of(arm: str) -> str:
    """Name with its factor masked: arms of one family differ in acceleration alone."""
    factors = list(_FACTOR.finditer(arm))
    if not factors:
        return arm
    start, end = factors[-1].span(1)
    return f"{arm[:start]}{_MASKED}{arm[end:]}"


def scan_of_family(family: str) -> str:
    """Family without the seed of its sampling mask: families of one such name are one scan under several masks."""
    return _SEED.sub(_MASKED, family)
