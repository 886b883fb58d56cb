"""What stops or flags a scan: one table of quality figures with their limits, and the sentences that tell them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from dlqsm.core.checks import InputError

STOP, FLAG = "stop", "flag"
ARM, FAMILY = "maps", "arms and atlas"


@dataclass(frozen=True, slots=True)
class Limit:
    """A quality figure, and what it may be.

    Parameters
    ----------
    about
        What the figure is, for sentences and tables.
    unit
        Behind its value; empty for shares and ratios.
    of
        `ARM` where the maps of a scan tell it, `FAMILY` where it needs the other arms or the atlas.
    level
        `STOP`: the scan fails, unless a user accepts it; `FLAG`: it is told wherever the scan is shown.
    least, most
        Limits; None for none.
    means
        What it usually means.
    remedy
        What to do.
    source
        Where the limit comes from.
    """

    about: str
    unit: str
    of: str
    level: str
    least: float | None
    most: float | None
    means: str
    remedy: str
    source: str

    def broken_by(self, value: float) -> float | None:
        """The limit that a value breaks; None where it keeps both, or is not known."""
        if self.least is not None and value < self.least:
            return self.least
        return self.most if self.most is not None and value > self.most else None


@dataclass(frozen=True, slots=True)
class Alarm:
    """A figure beyond its limit.

    Parameters
    ----------
    name
        Key of `ALARMS`.
    level
        `STOP` or `FLAG`.
    value, limit
        What was seen, and the limit that it breaks.
    text
        One sentence: seen, limit, what it usually means, what to do.
    """

    name: str
    level: str
    value: float
    limit: float
    text: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return asdict(self)


# fmt: off
ALARMS: Final[Mapping[str, Limit]] = {
    "sign": Limit(
        "the score of nuclei and veins", "", ARM, STOP, -3.5, None,
        "iron comes out diamagnetic, so the phase has the opposite sign", "turn it by --invert-phase, or not",
        "physics; reached by chance at most once in 457 maps",
    ),
    "filtered": Limit(
        "the spread of the field over more than 40 mm", "ppb", ARM, STOP, 8.0, None,
        "the phase was high-pass filtered, as for SWI", "give the unfiltered phase of the scan",
        "31 to 94 as scanned, 0 to 3.5 filtered (9 heads)",
    ),
    "first_echo": Limit(
        "the first echo time", "ms", ARM, FLAG, 0.05, None,
        "echo times were divided by 1000 once too often", "see that they are given in seconds",
        "no sequence begins earlier",
    ),
    "last_echo": Limit(
        "the last echo time", "ms", ARM, FLAG, None, 100.0,
        "echo times were given in a wrong unit", "see that they are given in seconds",
        "brain tissue has no signal left then",
    ),
    "echo_order": Limit(
        "the mean signal of an echo over that of the echo before", "", ARM, STOP, None, 1.03,
        "two echoes changed places, or echo times do not belong to them", "check the order of files and echo times",
        "signal decays; 0.92 in a clean scan, 1.09 with two echoes exchanged",
    ),
    "decay": Limit(
        "the median R2* of the brain, scaled to 3 T,", "/s", ARM, FLAG, 10.0, 32.0,
        "echo times or field strength are wrong", "check both against the protocol",
        "18.0 to 18.7 in 11 maps of 4 virtual heads, 24 in a real one",
    ),
    "b0_axis": Limit(
        "the score of nuclei and veins for B0 along another axis, less that for B0 as told,", "", ARM, FLAG, None, 3.5,
        "B0 lies along another axis than was told", "check the orientation of the images, or give --b0-direction",
        "-13.8 to -2.7 in 300 maps of 100 virtual heads; 5.0 to 13.3 with another axis, 0 to 2.1 with the phase turned",
    ),
    "field_scale": Limit(
        "the susceptibility of nuclei and veins over their R2*, both against what surrounds them, at 3 T,", "ppb s",
        ARM, FLAG, 1.0, 6.8,
        "the field is scaled wrongly, or of the wrong sign", "check phase unit, echo times and field strength",
        "1.3 to 5.2 in 300 maps of 100 virtual heads; 7.4 to 9.1 with the phase doubled",
    ),
    "mask_shift": Limit(
        "the shift of the given mask against the brain of the image", "voxels", ARM, FLAG, None, 2.0,
        "the mask belongs to another grid or image", "look at the mask on the magnitude; make it again",
        "0 on a phantom, 3 with the mask of a virtual head 3 voxels off",
    ),
    "reference": Limit(
        "the mean of the brain against the reference", "ppb", ARM, FLAG, None, 42.0,
        "the reference region lies in another tissue", "look at the region on the map, or take --reference brain",
        "CSF lies 13 to 35 above the brain in 130 maps, the pallidum 48 in one at 3.2 mm",
    ),
    "noise": Limit(
        "the median noise of the field", "ppb", ARM, FLAG, None, 30.0,
        "signal or coils were lost, or the acceleration is beyond the coils", "compare magnitude and coils with a scan "
        "that went well",
        "1.2 to 3.6 in 11 maps of 4 virtual heads, 10 in a real one",
    ),
    "poles": Limit(
        "the share of voxel loops that hold a pole of the phase", "", ARM, FLAG, None, 0.01,
        "coils were combined without regard to their phase, or there is no signal", "combine the coils anew, or "
        "give the images of single coils",
        "0 in 3 maps of a virtual head and in a real one",
    ),
    "unwrapping": Limit(
        "the share of the mask whose turns are uncertain", "", ARM, FLAG, None, 0.01,
        "phase changes too fast, by air, metal or motion", "look at the field; give a tighter mask",
        "0.0003 at most in 130 maps",
    ),
    "background_converged": Limit(
        "the residual of the background removal over its tolerance", "", ARM, FLAG, None, 1.0,
        "its iterations ran out", "look at field and mask, or allow more iterations",
        "0.92 to 1 in 130 maps",
    ),
    "inversion_converged": Limit(
        "the residual of the inversion over its tolerance", "", ARM, FLAG, None, 1.0,
        "its iterations ran out", "look at local field and mask, or allow more iterations",
        "0.75 to 0.91 in 130 maps",
    ),
    "silent_coils": Limit(
        "the share of coils that hold noise alone", "", ARM, FLAG, None, 0.1,
        "coil elements were not plugged in or are broken", "look at the coils; scan again, or leave them out",
        "0 in a clean virtual scan",
    ),
    "atlas_score": Limit(
        "the local correlation of atlas and image", "", FAMILY, FLAG, 0.5, None,
        "the registration failed", "look at the registration picture; give a T1-weighted image or another mask",
        "0.85 to 0.91 of 26 heads; without T1w 0.55 of one at 3.2 mm, 0.57 of a real one",
    ),
    "arm_score": Limit(
        "the local correlation with the reference arm", "", FAMILY, FLAG, 0.85, None,
        "the arm shows another head, or its registration failed", "check that the files are of one participant",
        "0.991 to 0.998 in 104 arms; two heads at most 0.81",
    ),
    "coverage": Limit(
        "the least share of a nucleus inside the valid mask", "", FAMILY, FLAG, 0.9, None,
        "the mask cuts through a nucleus", "look at the mask there; give another by --mask",
        "0.992 to 1 in 130 maps, 0.986 in one at 3.2 mm",
    ),
    "sides": Limit(
        "the least distance by which a right nucleus lies right of the left one", "mm", FAMILY, STOP, 0.0, None,
        "left and right are exchanged in the atlas or in the images", "check the orientation of both files",
        "anatomy",
    ),
    "rotation": Limit(
        "the rotation of the head against the reference arm", "degrees", FAMILY, FLAG, None, 4.0,
        "the head moved between the arms, so that B0 crosses it in another direction", "mind it in comparisons",
        "0.3 to 2.9 in 104 arms of moved heads",
    ),
    "translation": Limit(
        "the shift of the head against the reference arm", "mm", FAMILY, FLAG, None, 6.0,
        "the head moved between the arms", "mind it where arms are compared; look at the edges of the slab",
        "0.2 to 3.0 in 104 arms of moved heads",
    ),
    "acceleration": Limit(
        "the acceleration of an arm of a lower factor by name, over this arm's,", "", FAMILY, FLAG, None, 1.02,
        "the files of two arms were exchanged", "check names against protocols",
        "0.74 to 0.77 in 52 arms",
    ),
    "noise_over_plan": Limit(
        "the noise of the field over that of the reference arm, for their accelerations,", "", FAMILY, FLAG, None, 3.0,
        "signal or coils were lost in this arm", "compare its magnitude with that of the reference arm",
        "0.5 to 1.2 in 7 arms of 3 virtual heads",
    ),
}
# fmt: on
"""Every alarm. Figures of `ARM` are looked at once the maps of a scan are made, those of `FAMILY` once all arms and the
atlas are registered."""


def least_of(name: str) -> float:
    """What a figure must reach at the least, for the steps that judge by it before there are alarms."""
    least = ALARMS[name].least
    assert least is not None, name
    return least


def alarms_of(figures: Mapping[str, float], of: str) -> tuple[Alarm, ...]:
    """Alarms of the figures that are known, in the order of the table; figures without a limit are left alone."""
    found = []
    for name, limit in ALARMS.items():
        value = figures.get(name)
        if limit.of != of or value is None or not math.isfinite(value):
            continue
        broken = limit.broken_by(value)
        if broken is not None:
            found.append(Alarm(name, limit.level, value, broken, _sentence(limit, value, broken)))
    return tuple(found)


def require_no_stop(alarms: Collection[Alarm], source: str, accepted: Collection[str]) -> None:
    """Raise `InputError` for the first alarm that stops and is not accepted; ``source`` is what it is about."""
    for alarm in alarms:
        if alarm.level == STOP and alarm.name not in accepted:
            raise InputError(f"{source}: {alarm.text}, or --accept-alarm {alarm.name} to go on all the same")


def acceptable(*of: str) -> tuple[str, ...]:
    """Names of the alarms of these kinds that stop."""
    return tuple(name for name, limit in ALARMS.items() if limit.level == STOP and limit.of in of)


def shown(value: float, unit: str) -> str:
    """A value with its unit."""
    number = f"{value:.3g}".replace("-", "−")
    return f"{number} {unit}".strip()


def _sentence(limit: Limit, value: float, broken: float) -> str:
    bound = "at least" if broken == limit.least else "at most"
    seen = f"{limit.about} is {shown(value, limit.unit)} (expected {bound} {shown(broken, limit.unit)})"
    return f"{seen}: {limit.means}; {limit.remedy}"
