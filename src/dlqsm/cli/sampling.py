"""Write a (ky, kz) sampling mask with exactly round(NY NZ / R) samples.

Writes OUT.npy (bool, NY x NZ, centre at index N // 2), OUT.txt (ky kz in the order a sequence would acquire them) and
OUT.png.
"""

from __future__ import annotations

import argparse
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlqsm.acquisition.sampling import SAMPLINGS, Sampling
from dlqsm.cli.arguments import add_method_options, method_options, path, peek, positive, seed
from dlqsm.cli.console import start
from dlqsm.core.checks import InputError, require_choice
from dlqsm.core.methods import choose, options_of
from dlqsm.io.outputs import require_named, whole_file, write_text
from dlqsm.report.figures import sampling_picture

DEFAULT_KIND = "poisson"


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments."""
    parser.add_argument("out", type=path, metavar="OUT", help="output name without suffix")
    parser.add_argument("--shape", type=int, nargs=2, metavar=("NY", "NZ"), required=True, help="phase-encoding steps")
    add_sampling_arguments(parser, words)


def add_sampling_arguments(parser: argparse.ArgumentParser, words: list[str], *, several: bool = False) -> None:
    """Declare kind, acceleration, seed, calibration and the options of the kind; lists of the first two if several."""
    kind = peek(words, "--kind", DEFAULT_KIND)
    require_choice("sampling", kind, SAMPLINGS)
    many: dict[str, Any] = {"nargs": "+"} if several else {}
    parser.add_argument(
        "--acceleration", type=positive(float), metavar="R", required=True, help="net, at least 1", **many
    )
    parser.add_argument("--kind", choices=tuple(SAMPLINGS), default=DEFAULT_KIND, help=f"(default: {DEFAULT_KIND})")
    first = [0] if several else 0
    parser.add_argument("--seed", type=seed, default=first, help="for the same mask again (default: 0)", **many)
    parser.add_argument(
        "--calibration", type=int, nargs=2, metavar=("CY", "CZ"), help="axes of the calibration ellipse"
    )
    add_method_options(parser, _options(kind), title=f"options of {kind}")


def draw_sampling(
    arguments: argparse.Namespace,
    shape: tuple[int, int],
    acceleration: float,
    seed: int,
    acquired: NDArray[np.bool_] | None = None,
) -> Sampling:
    """Draw a sampling of the kind and with the options that the arguments ask for, among the cells acquired."""
    options = method_options(arguments, _options(arguments.kind))
    if arguments.calibration:
        options["calibration"] = tuple(arguments.calibration)
    draw = choose("sampling", SAMPLINGS, arguments.kind, options)
    return draw(shape, acceleration, seed, acquired)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    talk, _ = start(arguments)
    sampling = draw_sampling(arguments, tuple(arguments.shape), arguments.acceleration, arguments.seed)
    require_named(arguments.out)
    targets = {suffix: arguments.out.with_name(arguments.out.name + suffix) for suffix in (".npy", ".txt", ".png")}
    existing = [str(target) for target in targets.values() if target.exists()]
    if existing and not arguments.overwrite:
        raise InputError(f"{existing[0]}: exists already; give --overwrite to replace it")
    stored = BytesIO()
    np.save(stored, sampling.mask)
    for suffix, content in ((".npy", stored.getvalue()), (".png", sampling_picture(sampling.mask))):
        with whole_file(targets[suffix]) as partial:
            partial.write_bytes(content)
    lines = "".join(f"{ky} {kz}\n" for ky, kz in sampling.lines)
    write_text(targets[".txt"], lines)
    n = int(sampling.mask.sum())
    talk.say(f"{n} of {sampling.mask.size} samples, net acceleration {sampling.mask.size / n:.4f}: {targets['.npy']}")
    return 0


def _options(kind: str) -> dict[str, object]:
    return {name: option for name, option in options_of(SAMPLINGS[kind]).items() if name != "calibration"}
