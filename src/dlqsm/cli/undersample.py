"""Undersample raw k-space (ISMRMRD) retrospectively: keep round(NY NZ / R) of its (ky, kz) lines."""

from __future__ import annotations

import argparse

import numpy as np

from dlqsm.cli.arguments import path
from dlqsm.cli.console import start
from dlqsm.cli.sampling import add_sampling_arguments, draw_sampling
from dlqsm.cli.single_step import require_free
from dlqsm.core.checks import InputError
from dlqsm.core.raw import undersample
from dlqsm.io.raw import read_raw, write_raw


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments."""
    parser.add_argument("raw", type=path, metavar="FULL.h5", help="fully sampled ISMRMRD file")
    parser.add_argument("out", type=path, metavar="OUT.h5")
    add_sampling_arguments(parser, words)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    talk, _ = start(arguments)
    require_free(arguments.out, overwrite=arguments.overwrite)
    raw = read_raw(arguments.raw)
    _, ny, nz = raw.header.grid.shape
    sampling = draw_sampling(arguments, (ny, nz))
    absent = int((sampling.mask & ~raw.header.sampling_mask).sum())
    if absent:
        raise InputError(
            f"{arguments.raw}: {absent} of the {int(np.sum(sampling.mask))} lines to keep were never acquired "
            f"(its net acceleration is {raw.header.acceleration:.2f}); expected fully sampled data"
        )
    kept = undersample(raw, sampling.mask, sampling.calibration)
    write_raw(arguments.out, kept)
    talk.say(f"{len(kept.header.lines)} lines kept, net acceleration {kept.header.acceleration:.4f}: {arguments.out}")
    return 0
