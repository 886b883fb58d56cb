"""The command line: ``dlqsm COMMAND``. Nothing heavy is imported before a command is chosen."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any

from dlqsm.cli.arguments import Parser, add_common_arguments
from dlqsm.cli.failure import EXIT_UNUSABLE, one_sentence
from dlqsm.io.version import version_line

COMMANDS = {
    "convert": "DICOM to a BIDS dataset; Siemens raw data to ISMRMRD",
    "demo": "one virtual participant through the whole line, with a page",
    "simulate": "a virtual cohort as a BIDS dataset, with raw k-space and truth",
    "sampling": "a (ky, kz) sampling mask with an exact number of samples",
    "undersample": "retrospective undersampling of raw data",
    "recon": "raw k-space to magnitude, phase and lag sums",
    "qsm": "echo images to susceptibility",
    "unwrap": "one step: phase unwrapping",
    "background": "one step: background field removal",
    "invert": "one step: dipole inversion",
    "nuclei": "susceptibility and an atlas, or labels, to a table of nucleus values",
    "compare": "agreement of two maps",
    "agree": "agreement of arms over participants, from a long table",
    "run": "a whole BIDS dataset: every participant and arm, then the group",
    "train": "train a network of the learned reconstructions, or go on with its training",
    "report": "rebuild the HTML page",
    "export": "a susceptibility map as DICOM, beside the scan that it was made of",
    "qsm-ci": "one stage of the public benchmark QSM-CI",
    "completion": "a script that completes commands and options in bash, zsh or fish",
}
"""Command to what it does."""
NOTICE = "Research software: not a medical device, not for diagnosis."


# Both must stand before NumPy and PyTorch are loaded. Threads that wait by spinning slow a shared machine tenfold;
# NumPy's products of matrices, small here, depend in their last digits on the number of threads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``dlqsm`` and return the exit code: 0 done, 1 some participants failed, 2 unusable input or arguments."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return 0 if words else EXIT_UNUSABLE
    if words[0] == "--version":
        print(version_line())
        return 0
    if words[0] not in COMMANDS:
        print(f"dlqsm: unknown command '{words[0]}'; choose one of {', '.join(COMMANDS)}", file=sys.stderr)
        return EXIT_UNUSABLE
    return _run(words[0], words[1:])


def module_of(command: str) -> str:
    """The module that runs a command."""
    return f"dlqsm.cli.{command.replace('-', '_')}"


def _run(name: str, words: list[str]) -> int:
    try:
        command = importlib.import_module(module_of(name))
        parser = Parser(prog=f"dlqsm {name}", description=command.__doc__, epilog=NOTICE)
        command.add_arguments(parser, words)
        add_common_arguments(parser)
        parser.words = words
        arguments = parser.parse_args(words)
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _say_warning
            return int(command.run(arguments))
    except SystemExit as stop:
        return int(stop.code or 0)
    except KeyboardInterrupt:
        print(f"dlqsm {name}: interrupted; finished files are kept, unfinished ones were removed", file=sys.stderr)
        return 130
    except Exception as error:
        if "--debug" in words:
            traceback.print_exc()
        sentence = one_sentence(error)
        if sentence is None:
            raise
        print(f"dlqsm {name}: {sentence}", file=sys.stderr)
        return EXIT_UNUSABLE


def _say_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"  warning: {message}", file=sys.stderr)


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: dlqsm COMMAND ...",
            "",
            "Accelerated multi-echo GRE k-space to susceptibility values of the deep brain nuclei.",
            NOTICE,
            "",
            *lines,
            "",
            "dlqsm COMMAND --help tells the options of a command, with units; dlqsm --version version and commit.",
        ]
    )
