"""The arguments of ``dlqsm run`` on what is taken and measured, those of BIDS Apps in both of their spellings."""

from __future__ import annotations

import argparse
from typing import Final

from dlqsm.agreement.study import MARGIN_PPB
from dlqsm.cli.arguments import path, positive, spelled
from dlqsm.cli.phase_arguments import add_phase_arguments
from dlqsm.core.alarms import ARM, FAMILY
from dlqsm.core.realisations import ENOUGH_REALISATIONS
from dlqsm.io.version import version_line
from dlqsm.reconstruction import RECONSTRUCTIONS

LEVELS: Final = ("participant", "group")
APART: Final = "apart"
TOGETHER: Final = "together"


def add_selection_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the dataset, and what of it is taken."""
    parser.add_argument("bids", type=path, metavar="BIDS", help="folder of the dataset")
    parser.add_argument("out", type=path, metavar="OUT", help="folder of the derivatives")
    parser.add_argument("level", choices=LEVELS, metavar="participant|group", help="stage of the analysis")
    parser.add_argument("--version", action="version", version=version_line(), help="show the version and exit")
    taken = parser.add_argument_group("what is taken")
    taken.add_argument(
        *spelled("--participant-label"), nargs="+", metavar="ID", help="with or without sub- (default: all)"
    )
    taken.add_argument(*spelled("--session-label"), nargs="+", metavar="ID", help="with or without ses- (default: all)")
    taken.add_argument(
        "--sessions", choices=(APART, TOGETHER), default=APART,
        help="apart: each session is measured, shown and compared by itself; together: the sessions of a participant "
        "are arms, compared with each other, for a scan and its repeat on another day (default: apart)",
    )  # fmt: skip
    taken.add_argument(
        *spelled("--bids-filter-file"), type=path, metavar="F.json",
        help='entities that names must hold, by kind of image: {"megre": {"session": "1"}, "t1w": {"run": 1}}',
    )  # fmt: skip
    taken.add_argument(
        *spelled("--skip-bids-validation"), action="store_true",
        help="leave out the checks of the dataset as such: dataset_description.json, and who is listed in "
        "participants.tsv; names, echoes, units and times of the files that are used are checked all the same",
    )  # fmt: skip


def add_measure_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is measured, and how."""
    measured = parser.add_argument_group("what is measured")
    measured.add_argument(
        "--method",
        nargs="+",
        choices=tuple(RECONSTRUCTIONS),
        metavar="M",
        help=f"reconstructions of raw data, of {', '.join(RECONSTRUCTIONS)}; several make several maps of each scan "
        "(default: sense for regular sampling, the best there is for random sampling)",
    )
    measured.add_argument(
        *spelled("--config", "--config-file"), type=path, metavar="F.toml",
        help="methods and options of the steps of dlqsm qsm, and options of reconstructions",
    )  # fmt: skip
    add_phase_arguments(measured, (ARM, FAMILY))
    measured.add_argument(
        "--uncertainty", type=int, metavar="N",
        help="tell the noise of maps and nuclei (noise_sd_ppb) from N realisations: each takes one background removal "
        f"and inversion and one volume on disk; 8 to 16 are pooled, {ENOUGH_REALISATIONS} or more plain Monte Carlo",
    )  # fmt: skip
    measured.add_argument(
        "--atlas", metavar="cit168|virtual|DIR", help="(default: cit168; virtual for datasets of dlqsm simulate)"
    )
    measured.add_argument(
        "--reference", metavar="ARM",
        help="arm that the others are compared with; PI2 means the first PI2_* too (default: PI2, else the first)",
    )  # fmt: skip
    measured.add_argument(
        "--repeat", metavar="ARM",
        help="group: second scan by the reference, the floor of all others (default: REFERENCErep, else the arm whose "
        "name differs from REFERENCE in run or session alone)",
    )  # fmt: skip
    measured.add_argument(
        *spelled("--like-paper"), action="store_true", help="measure all arms on the reference arm's grid"
    )
    measured.add_argument(
        *spelled("--margin-ppb"), type=positive(float), default=MARGIN_PPB, metavar="X",
        help="group: mean difference that does not matter [ppb]; set it before you see the data "
        f"(default: {MARGIN_PPB:g})",
    )  # fmt: skip


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is written."""
    written = parser.add_argument_group("what is written")
    written.add_argument(
        *spelled("--reports-only"), action="store_true", help="make the pages anew from what is there; run no stage"
    )
    written.add_argument(
        *spelled("--output-layout"), choices=("bids",), default="bids", help="OUT is a BIDS dataset (the only layout)"
    )
    written.add_argument("--notrack", action="store_true", help="accepted; dlqsm never sends anything anywhere")
