"""Whether the phase can be trusted, seen from its maps: sign, low frequencies, poles."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from dlqsm.core.checks import InputError
from dlqsm.core.scan import Scan
from dlqsm.pipeline.susceptibility import QsmMaps
from dlqsm.qsm.filtered_phase import LEAST_SPREAD_PPB, WIDTH_MM, FieldSpread, field_spread
from dlqsm.qsm.poles import PoleMap
from dlqsm.qsm.sign import AGREES, CLEAR_SCORE, CONTRADICTS, SignEvidence, sign_evidence

SIGN: Final = "sign"
FILTERED: Final = "filtered"
ACCEPTABLE: Final = (SIGN, FILTERED)
"""What a user may go on in spite of."""


@dataclass(frozen=True, slots=True)
class PhaseTrust:
    """What the maps say of the phase that they were made of.

    Parameters
    ----------
    sign
        None where R2* is not known.
    spread
        Spread of the total field.
    poles
        Counts inside the eroded mask; empty where no phase was kept to count in.
    """

    sign: SignEvidence | None
    spread: FieldSpread
    poles: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        sign = None if self.sign is None else self.sign.as_dict()
        return {"sign": sign, "field_spread": self.spread.as_dict(), "poles": self.poles}

    def decisions(self) -> dict[str, str]:
        """The same in words."""
        words = {"sign_check": sign_words(self.sign), "filter_check": _spread_words(self.spread)}
        return {**words, "phase_poles": _pole_words(self.poles)} if self.poles else words


def phase_trust(maps: QsmMaps, scan: Scan, poles: PoleMap | None, of_what: str) -> PhaseTrust:
    """Look at the maps of a scan; ``of_what`` names the phase in which ``poles`` were found."""
    chi_ppm, eroded = maps.chi_ppm.cpu(), maps.eroded_mask.cpu()
    sign = None if maps.r2star_hz is None else sign_evidence(chi_ppm, maps.r2star_hz.cpu(), eroded, scan)
    counted = {} if poles is None else {"of": of_what, **poles.counts(eroded.to(poles.loops.device))}
    return PhaseTrust(sign, field_spread(maps.total_field_hz.cpu(), maps.mask.cpu(), scan), counted)


def require_trust(
    trust: PhaseTrust, source: str, *, inverted: bool, accepted: Collection[str], doubtful_axis: bool = False
) -> dict[str, str]:
    """Raise `InputError` where the maps clearly contradict the phase; return what was accepted in spite of it.

    Parameters
    ----------
    trust
        What the maps say.
    source
        The file that the sentence is about.
    inverted
        Whether the phase was turned on request.
    accepted
        Of `ACCEPTABLE`.
    doubtful_axis
        Whether B0 may lie along another axis, which turns the sign of much of the map too.
    """
    warnings = {}
    for kind, sentence in (
        (FILTERED, _filter_sentence(trust.spread)),
        (SIGN, _sign_sentence(trust.sign, inverted=inverted, doubtful_axis=doubtful_axis)),
    ):
        if sentence and kind not in accepted:
            raise InputError(f"{source}: {sentence}, or --accept-phase {kind} to go on all the same")
        if sentence:
            warnings[f"accepted_{kind}"] = f"warning: {sentence.split(':')[0]}; accepted by --accept-phase {kind}"
    return warnings


def sign_words(sign: SignEvidence | None) -> str:
    """One sentence about the sign."""
    if sign is None:
        return "not made: one echo tells no R2*"
    where = f"{abs(sign.excess_ppb):.0f} ppb {'above' if sign.excess_ppb >= 0 else 'below'} what surrounds them"
    score = f"score {sign.score:.1f}".replace("-", "−")
    told = f"{sign.n_places} places of fast decay lie {where} ({score}, clear beyond {CLEAR_SCORE:g})"
    if sign.verdict == AGREES:
        return f"nuclei and veins are paramagnetic, as they must be: {told}"
    if sign.verdict == CONTRADICTS:
        return f"nuclei and veins are diamagnetic, against physics: {told}"
    return f"unclear: {told}; see that veins are bright in the susceptibility"


def _sign_sentence(sign: SignEvidence | None, *, inverted: bool, doubtful_axis: bool) -> str | None:
    if sign is None or sign.verdict != CONTRADICTS:
        return None
    remedy = "leave out --invert-phase" if inverted else "give --invert-phase to turn it"
    if doubtful_axis:
        remedy = f"B0 may lie along another axis: check --b0-direction and the affine first, then {remedy}"
    return (
        f"the phase seems to have the opposite sign: {sign.n_places} places of fast decay (deep nuclei, veins) come "
        f"out diamagnetic, {abs(sign.excess_ppb):.0f} ppb below what surrounds them (score {sign.score:.1f}, clear "
        f"below -{CLEAR_SCORE:g}), while iron makes them paramagnetic; {remedy}"
    )


def _filter_sentence(spread: FieldSpread) -> str | None:
    if spread.verdict != "filtered":
        return None
    return (
        f"the phase seems to be high-pass filtered, as for SWI: its field varies by {spread.low_ppb:.1f} ppb over more "
        f"than {WIDTH_MM:g} mm (expected above {LEAST_SPREAD_PPB:g} in any head) and by {spread.high_ppb:.1f} ppb over "
        "less; give the unfiltered phase of the scan"
    )


def _spread_words(spread: FieldSpread) -> str:
    told = (
        f"the field varies by {spread.low_ppb:.0f} ppb over more than {WIDTH_MM:g} mm, {spread.high_ppb:.0f} over less"
    )
    if spread.verdict == "whole":
        return f"the phase has its low frequencies: {told}"
    if spread.verdict == "filtered":
        return f"the phase lacks its low frequencies: {told}"
    return f"unclear, since the mask has {spread.volume_ml:.0f} ml only: {told}"


def _pole_words(poles: dict[str, Any]) -> str:
    """How many poles there are inside, and in which echoes."""
    n = poles["n_poles"]
    each = f"{n[0]}" if len(n) == 1 else f"{' '.join(map(str, n))} by echo"
    return f"{each}, of {poles['n_loops']} loops of four voxels inside the eroded mask, in {poles['of']}"
