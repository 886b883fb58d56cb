"""What a user may say of phase images: unit, sign, polarity, and what is accepted in spite of a check."""

from __future__ import annotations

import argparse
from typing import Any

from dlqsm.core.alarms import acceptable
from dlqsm.io.images import AS_STORED, PhaseOptions
from dlqsm.io.phase_unit import PHASE_UNITS
from dlqsm.pipeline.phase_trust import ACCEPTABLE
from dlqsm.qsm.coil_combination import COIL_COMBINATIONS


def add_phase_arguments(group: Any, alarms: tuple[str, ...]) -> None:
    """Declare what `dlqsm qsm` and `dlqsm run` share, in both spellings of BIDS Apps; ``alarms``: of which kinds."""
    group.add_argument("--phase-unit", "--phase_unit", metavar="U", help=f"{PHASE_UNITS} (default: from the headers)")
    group.add_argument(
        "--bipolar", action="store_true", help="images: alternating readout; take out what parts odd and even echoes"
    )
    group.add_argument(
        "--coil-combination", "--coil_combination", choices=tuple(COIL_COMBINATIONS), default=AS_STORED.coils,
        help="images of single coils: mdi takes the field of all together, mcpc3ds combines them in phase first, by "
        "offsets from two echoes (default: mdi)",
    )  # fmt: skip
    add_sign_arguments(group, ACCEPTABLE)
    add_alarm_argument(group, *alarms)


def add_alarm_argument(group: Any, *of: str) -> None:
    """Declare which alarms that stop are accepted, ``of`` maps or arms; those of the phase have their own option."""
    stopping = [name for name in acceptable(*of) if name not in ACCEPTABLE]
    group.add_argument(
        "--accept-alarm", "--accept_alarm", nargs="+", choices=stopping, default=[], metavar="ALARM",
        help=f"go on, with the alarm on record, where one of these stops: {', '.join(stopping)}",
    )  # fmt: skip


def add_sign_arguments(group: Any, acceptable: tuple[str, ...]) -> None:
    """Declare how the sign is turned, and what is accepted."""
    group.add_argument(
        "--invert-phase", "--invert_phase", action="store_true",
        help="turn the sign of the phase, where it shrinks with time in a higher field (default: as stored)",
    )  # fmt: skip
    group.add_argument(
        "--accept-phase", "--accept_phase", nargs="+", choices=acceptable, default=[], metavar="CHECK",
        help=f"go on, with a warning on record, although the phase fails a check, of {', '.join(acceptable)}",
    )  # fmt: skip


def phase_options(arguments: argparse.Namespace) -> PhaseOptions:
    """What was said."""
    accepted = tuple(dict.fromkeys([*arguments.accept_phase, *arguments.accept_alarm]))
    unit, coils = arguments.phase_unit, arguments.coil_combination
    return PhaseOptions(unit, arguments.invert_phase, arguments.bipolar, accepted, coils)
