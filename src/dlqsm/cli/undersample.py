"""Undersample raw k-space (ISMRMRD) retrospectively: keep round(NY NZ / R) of its (ky, kz) lines."""

from __future__ import annotations

import argparse

import numpy as np

from dlqsm.acquisition.sampling import SAMPLINGS
from dlqsm.cli.arguments import add_method_options, method_options, path, peek, positive
from dlqsm.cli.console import start
from dlqsm.cli.single_step import require_free
from dlqsm.core.checks import InputError, require_choice
from dlqsm.core.methods import choose, options_of
from dlqsm.core.raw import undersample
from dlqsm.io.raw import read_raw, write_raw


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments."""
    kind = peek(words, "--kind", "poisson")
    require_choice("sampling", kind, SAMPLINGS)
    parser.add_argument("raw", type=path, metavar="FULL.h5", help="fully sampled ISMRMRD file")
    parser.add_argument("out", type=path, metavar="OUT.h5")
    parser.add_argument("--acceleration", type=positive(float), metavar="R", required=True, help="net, at least 1")
    parser.add_argument("--kind", choices=tuple(SAMPLINGS), default="poisson")
    parser.add_argument("--seed", type=int, default=0, help="of the mask (default: 0)")
    parser.add_argument(
        "--calibration", type=int, nargs=2, metavar=("CY", "CZ"), help="axes of the calibration ellipse"
    )
    add_method_options(parser, _options(kind), title=f"options of {kind}")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    talk, _ = start(arguments)
    require_free(arguments.out, overwrite=arguments.overwrite)
    raw = read_raw(arguments.raw)
    options = method_options(arguments, _options(arguments.kind))
    if arguments.calibration:
        options["calibration"] = tuple(arguments.calibration)
    draw = choose("sampling", SAMPLINGS, arguments.kind, options)
    _, ny, nz = raw.header.grid.shape
    sampling = draw((ny, nz), arguments.acceleration, arguments.seed)
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


def _options(kind: str) -> dict[str, object]:
    return {name: option for name, option in options_of(SAMPLINGS[kind]).items() if name != "calibration"}
