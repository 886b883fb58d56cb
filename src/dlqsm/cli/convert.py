"""Convert DICOM to BIDS, and raw data to ISMRMRD.

DICOM images (a folder however nested, a zip file, or one file; classic or enhanced) become magnitude and phase of each
echo (sub-ID_echo-N_part-mag|phase_MEGRE.nii.gz; phase in rad, echo times in s) and a T1-weighted image where there is
one. Siemens raw data (meas.dat) and ISMRMRD files of other converters become ISMRMRD as `dlqsm recon` and `dlqsm run`
read it: OUT is a file (.h5), or a BIDS dataset, which keeps them in sourcedata. A dataset that exists is added to.
Nothing that names the person, the examination or the machine is written.
"""

from __future__ import annotations

import argparse

from dlqsm.cli.arguments import add_memory_argument, path
from dlqsm.cli.console import start
from dlqsm.cli.convert_dicom import convert_dicom
from dlqsm.cli.convert_raw import convert_raw, is_raw
from dlqsm.cli.phase_arguments import add_sign_arguments
from dlqsm.pipeline.phase_trust import FILTERED


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments."""
    del words
    parser.add_argument(
        "source", type=path, metavar="DICOM|RAW", help="folder, .zip or file; meas.dat; or an ISMRMRD .h5"
    )
    parser.add_argument(
        "out", type=path, metavar="OUT", help="folder of the BIDS dataset; for raw data also a file .h5"
    )
    names = parser.add_argument_group("names in the dataset")
    names.add_argument(
        "--participant-label", metavar="ID", help="letters and digits (default: 01, in a new dataset only)"
    )
    names.add_argument("--session-label", metavar="ID", help="letters and digits (default: no session)")
    names.add_argument("--acq", metavar="ARM", help="what tells this scan from others, as PI2 or DL3 (default: none)")
    names.add_argument("--run", type=int, metavar="N", help="number of a repeated scan (default: none)")
    images = parser.add_argument_group("DICOM")
    images.add_argument("--series", type=int, nargs="+", metavar="N", help="take only the series of these numbers")
    images.add_argument("--no-t1w", action="store_true", help="leave T1-weighted images out")
    images.add_argument(
        "--phase-unit",
        metavar="rad|mrad|siemens|range:LO:HI",
        help="unit of the phase as stored (default: from the headers)",
    )
    add_sign_arguments(images, (FILTERED,))
    raw = parser.add_argument_group("ISMRMRD")
    raw.add_argument(
        "--reverse-echoes",
        type=int,
        nargs="+",
        metavar="N",
        help="echoes read backwards without a flag, counted from 1",
    )
    add_memory_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    talk, _ = start(arguments)
    if is_raw(arguments.source):
        convert_raw(arguments, talk)
    else:
        convert_dicom(arguments, talk)
    print(arguments.out)
    return 0
