"""Train a network of the learned reconstructions: on virtual heads, on your own raw data, or further from weights.

Fully sampled ISMRMRD data are undersampled anew in every step; undersampled data alone train a network too, with
--self-supervised. A call may be cut at any time or by --minutes, and goes on with --resume; the weights are then
those of a training that was not cut. The weights in OUT/best.safetensors had the smallest error of the field [Hz] on
data kept apart; give them to recon with --weights.
"""

from __future__ import annotations

import argparse
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import dlqsm
from dlqsm.cli.arguments import add_memory_argument, path, peek, positive, seed
from dlqsm.cli.console import start
from dlqsm.cli.memory import state_memory
from dlqsm.cli.train_data import SLABS, DataSource, check_source, planned_bytes, prepare
from dlqsm.core.checks import InputError, require_choice
from dlqsm.core.methods import options_of
from dlqsm.io.outputs import output_folder, read_json, write_json
from dlqsm.pipeline.training import Recipe, fit, recipe_for
from dlqsm.pipeline.training_slabs import SlabSettings
from dlqsm.reconstruction.learned import NETWORKS
from dlqsm.reconstruction.learned.weights import read_network, save_network
from dlqsm.reconstruction.training.checkpoints import NAME as CHECKPOINT
from dlqsm.reconstruction.training.checkpoints import steps_done
from dlqsm.reconstruction.training.loop import LOG, VALIDATION

RECIPE: Final = "recipe.json"
FORMAT: Final = "dlqsm-recipe 1"
START: Final = "start.safetensors"
STEPS: Final = 10_000
FINE_TUNING_RATE: Final = 2e-4
_PREFIX: Final = "setting_"
_MADE: Final = (CHECKPOINT, LOG, VALIDATION, START, "best.safetensors", "last.safetensors")
_FIXED: Final = (
    *("data", "validation", "virtual", "coil_maps", "self_supervised"),
    *("network", "from_weights", "seed", "learning_rate"),
)


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments."""
    network = peek(words, "--network", "")
    parser.add_argument("out", type=path, metavar="OUT", help="folder of the training")
    source = parser.add_argument_group("what to learn from")
    source.add_argument(
        "--data", type=path, nargs="+", metavar="PATH", help="ISMRMRD files, folders of them, or a folder of slabs"
    )
    source.add_argument(
        "--validation", type=path, nargs="+", metavar="PATH", help="data to judge by (default: some of --data)"
    )
    source.add_argument("--virtual", type=positive(int), metavar="N", help="virtual heads, made first")
    source.add_argument("--processes", type=positive(int), metavar="N", help="that make virtual heads (default: 1)")
    source.add_argument(
        "--coil-maps",
        type=path,
        metavar="FILE",
        help="measured coil maps (.npy, .mat) for a quarter of the virtual heads",
    )
    source.add_argument("--self-supervised", action="store_true", default=None, help="the data are undersampled")
    how = parser.add_argument_group("how to learn")
    how.add_argument("--network", choices=tuple(NETWORKS), help="needed unless --resume")
    how.add_argument(
        "--from", dest="from_weights", type=path, metavar="WEIGHTS", help="start from weights, to fine-tune them"
    )
    how.add_argument("--steps", type=positive(int), metavar="N", help=f"of the whole training (default: {STEPS})")
    how.add_argument("--minutes", type=positive(float), metavar="M", help="end this call after so long, to be resumed")
    how.add_argument("--resume", action="store_true", help="go on with the training that OUT holds")
    how.add_argument("--seed", type=seed, help="(default: 0)")
    how.add_argument(
        "--learning-rate",
        type=positive(float),
        metavar="X",
        help=f"highest (default: 0.001; {FINE_TUNING_RATE:g} with --from)",
    )
    add_memory_argument(parser)
    if network in NETWORKS:
        _add_settings(parser, network)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    talk, device = start(arguments)
    recipe, source = _resumed(arguments) if arguments.resume else _new(arguments)
    state_memory(arguments, talk, planned_bytes(source, recipe.network), "give more with --mem, or fewer --processes")
    new = not arguments.resume
    produces = (RECIPE,) if new else ()
    with output_folder(arguments.out, overwrite=arguments.overwrite, produces=produces) as folder:
        if new:
            _begin(folder, recipe, source, arguments.from_weights)
        elif arguments.steps:
            _write_recipe(folder, recipe, source)
        data = prepare(source, folder, talk, SlabSettings())
        beginning = folder / START
        progress = fit(
            recipe,
            folder,
            data.train,
            data.validation,
            device=device,
            start_from=beginning if beginning.is_file() else None,
            seconds=math.inf if arguments.minutes is None else 60 * arguments.minutes,
            say=talk.say,
        )
    talk.say(
        f"step {progress.step} of {recipe.loop.steps} after {progress.seconds / 60:.1f} minutes, in {arguments.out}"
    )
    if progress.step < recipe.loop.steps:
        talk.say(f"  go on with: dlqsm train {arguments.out} --resume")
    return 0


def _new(arguments: argparse.Namespace) -> tuple[Recipe, DataSource]:
    """Recipe and data of a new training, checked."""
    if arguments.network is None:
        raise InputError(f"give --network, one of {', '.join(NETWORKS)}")
    _check_place(arguments)
    given = _given_settings(arguments)
    if arguments.from_weights is not None:
        if given:
            raise InputError(
                f"the weights of --from have settings of their own; drop --{next(iter(given)).replace('_', '-')}"
            )
        given = read_network(NETWORKS[arguments.network], arguments.from_weights).settings
    NETWORKS[arguments.network](**given)
    seed = arguments.seed or 0
    recipe = recipe_for(arguments.network, arguments.steps or STEPS, seed=seed, **given)
    rate = arguments.learning_rate or (FINE_TUNING_RATE if arguments.from_weights else recipe.loop.learning_rate)
    recipe = replace(recipe, loop=replace(recipe.loop, learning_rate=rate))
    source = DataSource(
        virtual=arguments.virtual or 0,
        data=tuple(arguments.data or ()),
        validation=tuple(arguments.validation or ()),
        self_supervised=bool(arguments.self_supervised),
        seed=seed,
        processes=arguments.processes or 1,
        coil_maps=arguments.coil_maps,
    )
    check_source(source)
    return recipe, source


def _resumed(arguments: argparse.Namespace) -> tuple[Recipe, DataSource]:
    """Recipe and data of the training that the folder holds; only its length may change."""
    file = arguments.out / RECIPE
    if not file.is_file():
        raise InputError(
            f"{arguments.out}: holds no training to resume ({RECIPE} is absent); start one without --resume"
        )
    for name in _FIXED:
        if getattr(arguments, name) is not None:
            flag = "from" if name == "from_weights" else name.replace("_", "-")
            raise InputError(
                f"a resumed training keeps what it was started with; drop --{flag}, or start another folder"
            )
    recipe, source = _read_recipe(file)
    source = replace(source, processes=arguments.processes or source.processes)
    if arguments.steps:
        recipe = replace(recipe, loop=replace(recipe.loop, steps=arguments.steps))
    done = steps_done(arguments.out)
    if done >= recipe.loop.steps:
        raise InputError(
            f"{arguments.out}: this training is finished after {done} steps; give more --steps, or start another "
            "folder with --from"
        )
    return recipe, source


def _read_recipe(file: Path) -> tuple[Recipe, DataSource]:
    content = read_json(file)
    if content.get("format") != FORMAT:
        raise InputError(f"{file}: expected a recipe of dlqsm ('{FORMAT}'); got '{content.get('format', 'none')}'")
    try:
        recipe = Recipe.from_dict(_mapping(content["recipe"]))
        source = DataSource.from_dict(_mapping(content["source"]))
    except (KeyError, TypeError) as error:
        raise InputError(f"{file}: the recipe is damaged or of another version ({error})") from None
    require_choice("network", recipe.network, NETWORKS)
    return recipe, source


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"expected an object; got {type(value).__name__}")
    return value


def _check_place(arguments: argparse.Namespace) -> None:
    """Refuse a folder with files that no training wrote, and data that the new training would remove."""
    out: Path = arguments.out
    if out.is_dir() and any(out.iterdir()) and not (out / RECIPE).is_file() and not arguments.overwrite:
        raise InputError(f"{out}: holds files that no training wrote; choose another folder")
    if (out / SLABS).exists() and not (out / RECIPE).is_file():
        raise InputError(f"{out / SLABS}: no training wrote it, and a new one would remove it; choose another folder")
    for source in (*(arguments.data or ()), *(arguments.validation or ()), arguments.coil_maps):
        if source is not None and source.resolve().is_relative_to((out / SLABS).resolve()):
            raise InputError(f"{source}: lies among the slabs of {out}, which the new training replaces; move it first")


def _begin(folder: Path, recipe: Recipe, source: DataSource, from_weights: Path | None) -> None:
    """Forget an older training, and write what the new one is; it may start from weights of the older one."""
    network = None if from_weights is None else read_network(NETWORKS[recipe.network], from_weights)
    for name in _MADE:
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / SLABS, ignore_errors=True)
    if network is not None:
        # A copy, so that resuming does not depend on a file elsewhere.
        save_network(folder / START, network, {"copied_from": str(from_weights)})
    _write_recipe(folder, recipe, source)


def _write_recipe(folder: Path, recipe: Recipe, source: DataSource) -> None:
    content = {"format": FORMAT, "version": dlqsm.__version__, "recipe": recipe.as_dict(), "source": source.as_dict()}
    write_json(folder / RECIPE, content)


def _add_settings(parser: argparse.ArgumentParser, network: str) -> None:
    """One option for each keyword-only parameter of a network's constructor."""
    group = parser.add_argument_group(f"settings of {network}")
    for name, option in options_of(NETWORKS[network].__init__).items():
        flag, destination = f"--{name.replace('_', '-')}", _PREFIX + name
        keywords: dict[str, Any] = {"dest": destination, "default": argparse.SUPPRESS}
        shown = f"(default: {option.default})"
        if option.kind is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=shown, **keywords)
        elif option.kind in (int, float, str):
            group.add_argument(flag, type=option.kind, metavar="X", help=shown, **keywords)
        else:
            group.add_argument(flag, type=int, nargs="+", metavar="N", help=shown, **keywords)


def _given_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    return {name.removeprefix(_PREFIX): value for name, value in vars(arguments).items() if name.startswith(_PREFIX)}
