"""Train a network on virtual heads on a machine with a GPU, in calls of a few minutes that resume each other.

Needs Python 3.12, torch, NumPy, SciPy, Numba, h5py and safetensors alone, and STATE/anatomy.npz from
scripts/pack_anatomy.py. Processes make heads while training goes on, on those that are there. All that a later call
needs is small and lies in STATE; slabs are made again where they are lost, from the same seeds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dlqsm.core.anatomy import Anatomy
from dlqsm.core.scan import Grid
from dlqsm.io.coil_maps import read_coil_maps
from dlqsm.io.outputs import remove_partial_files, write_json
from dlqsm.pipeline.training import Recipe, fit, recipe_for
from dlqsm.pipeline.training_slabs import SlabSettings, write_virtual_slabs
from dlqsm.reconstruction.training.slabs import slab_paths

FIRST_VALIDATION_HEAD = 100_000
PLANES_OF_AN_EXAMPLE = {"joint": 8, "cascade": 16}
LOSS_TERMS = ("phase", "field", "susceptibility")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("state", type=Path, metavar="STATE", help="checkpoint, tables and weights")
    parser.add_argument("--slabs", type=Path, required=True, help="folder for training data, tens of GB; may be lost")
    parser.add_argument("--network", required=True)
    parser.add_argument(
        "--settings",
        nargs="*",
        default=[],
        metavar="NAME=VALUE",
        help="of the network; whole numbers, or several with commas",
    )
    parser.add_argument("--minutes", type=float, default=9.0, help="after which this call ends (default: 9)")
    parser.add_argument("--steps", type=int, default=20_000, help="of the whole training, over all calls")
    parser.add_argument("--heads", type=int, default=120, help="training heads, 0.25 GB each (default: 120)")
    parser.add_argument("--validation-heads", type=int, default=2)
    parser.add_argument("--first-heads", type=int, default=8, help="heads to wait for before the first step")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--planes", type=int, help="x-planes of an example")
    for term in LOSS_TERMS:
        parser.add_argument(f"--{term}", type=float, help=f"weight of the {term} in the loss (default: the recipe's)")
    parser.add_argument("--nuclei", type=float, help="further weight of the nuclei's voxels (default: the recipe's)")
    parser.add_argument("--coil-maps", type=Path, help="measured coil maps (.npy, .mat) for a quarter of the heads")
    parser.add_argument("--compiled", action="store_true", help="use torch.compile")
    parser.add_argument("--resident-gb", type=float, default=30.0, help="memory of the GPU for training data")
    return parser.parse_args()


def main() -> None:
    """Run one call."""
    began = time.monotonic()
    # So that a call that is ended from outside ends its processes too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments = parse()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    anatomy = read_anatomy(arguments.state / "anatomy.npz")
    recipe = make_recipe(arguments)
    write_json(arguments.state / "recipe.json", recipe.as_dict())
    train, validation = arguments.slabs / "train", arguments.slabs / "validation"
    with heads_being_made(anatomy, arguments) as maker:
        wait_for(train, validation, arguments, maker, began)
        progress = fit(
            recipe,
            arguments.state,
            train,
            validation,
            device=device,
            seconds=60 * arguments.minutes - (time.monotonic() - began),
            ahead=6,
            resident_bytes=int(arguments.resident_gb * 1e9) if device.type == "cuda" else 0,
            say=lambda line: print(line, flush=True),
        )
    print(f"step {progress.step} of {recipe.loop.steps}; best {progress.best_score} at step {progress.best_step}")
    if device.type == "cuda":
        print(f"GPU memory at most {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


def make_recipe(arguments: argparse.Namespace) -> Recipe:
    """What the options ask for: larger examples than on a CPU."""
    settings = {name: plain(text) for name, _, text in (pair.partition("=") for pair in arguments.settings)}
    recipe = recipe_for(arguments.network, arguments.steps, seed=arguments.seed, **settings)
    planes = arguments.planes or PLANES_OF_AN_EXAMPLE.get(arguments.network, 8)
    coils = None if recipe.draws.max_coils is None else 8
    nuclei = recipe.draws.nuclei_weight if arguments.nuclei is None else arguments.nuclei
    given = {term: getattr(arguments, term) for term in LOSS_TERMS if getattr(arguments, term) is not None}
    return replace(
        recipe,
        draws=replace(recipe.draws, planes=planes, max_echoes=8, max_coils=coils, nuclei_weight=nuclei),
        loss=replace(recipe.loss, **given),
        loop=replace(recipe.loop, learning_rate=arguments.learning_rate, log_every=100, compiled=arguments.compiled),
        validation=replace(recipe.validation, accelerations=(3.0, 5.0), most_slabs=4),
    )


def plain(text: str) -> int | float | tuple[int, ...]:
    """The value of a network's setting."""
    if "," in text:
        return tuple(int(part) for part in text.split(","))
    return float(text) if "." in text else int(text)


def read_anatomy(path: Path) -> Anatomy:
    """Undo `pack_anatomy.py`."""
    if not path.is_file():
        raise SystemExit(f"{path}: there is no such file; make it with scripts/pack_anatomy.py where nilearn is")
    with np.load(path) as arrays:
        t1, gm, wm = (arrays[name] for name in ("t1", "gm", "wm"))
        return Anatomy(t1, gm, wm, Grid.from_affine(t1.shape, arrays["affine"]))


@contextmanager
def heads_being_made(anatomy: Anatomy, arguments: argparse.Namespace) -> Iterator[multiprocessing.Process]:
    """A process of its own that makes all heads with others, ended with the block; unfinished files are not seen."""
    context = multiprocessing.get_context("spawn")
    maker = context.Process(target=make_heads, args=(anatomy, arguments))
    maker.start()
    try:
        yield maker  # type: ignore[misc]
    finally:
        # Its own group holds the processes of its pool too; before it has one, it is alone.
        if maker.pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(maker.pid, signal.SIGTERM)
        maker.terminate()
        maker.join()


def make_heads(anatomy: Anatomy, arguments: argparse.Namespace) -> None:
    """Make the validation heads, then the others."""
    os.setpgrp()  # so that it is ended together with the processes of its pool
    first = range(FIRST_VALIDATION_HEAD, FIRST_VALIDATION_HEAD + arguments.validation_heads)
    maps = None if arguments.coil_maps is None else read_coil_maps(arguments.coil_maps)
    settings = SlabSettings(coil_maps=maps)
    groups = ((arguments.slabs / "validation", first), (arguments.slabs / "train", range(arguments.heads)))
    for folder, numbers in groups:
        remove_partial_files(folder)
        for _ in write_virtual_slabs(anatomy, folder, arguments.seed, numbers, settings, arguments.processes):
            pass


def wait_for(
    train: Path, validation: Path, arguments: argparse.Namespace, maker: multiprocessing.Process, began: float
) -> None:
    """Wait until the validation heads and enough training heads are there."""
    per_head = SlabSettings().slabs_a_head
    wanted = min(arguments.first_heads, arguments.heads) * per_head
    while len(slab_paths(train)) < wanted or len(slab_paths(validation)) < arguments.validation_heads * per_head:
        if maker.exitcode not in (None, 0):
            raise SystemExit("the processes that make heads ended with an error; see above")
        time.sleep(1.0)
    print(f"{len(slab_paths(train))} slabs to begin with after {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
