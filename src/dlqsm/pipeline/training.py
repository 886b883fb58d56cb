"""Training as one page: examples from folders of slabs, masks as the scanner draws them, and the recipe of it all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import nn

import dlqsm
from dlqsm.acquisition.sampling import poisson
from dlqsm.core.checks import InputError, require_choice
from dlqsm.pipeline.training_validation import Validation, ValidationSettings
from dlqsm.reconstruction.learned import NETWORKS
from dlqsm.reconstruction.learned.weights import Network, read_network, save_network
from dlqsm.reconstruction.training.checkpoints import Progress
from dlqsm.reconstruction.training.draws import DrawSettings, Example, MaskOf, draw_example
from dlqsm.reconstruction.training.loop import LoopSettings, train
from dlqsm.reconstruction.training.loss import LossSettings
from dlqsm.reconstruction.training.slabs import HeldSlab, SlabSource, open_slab, slab_paths

SLOPES: Final = (0.5, 1.0, 1.5)
"""Growths of the exclusion radius of training masks; see `poisson`."""


@dataclass(frozen=True)
class Accelerations:
    """Net acceleration factors of training masks.

    Parameters
    ----------
    values
        Lowest and highest, or the ones to choose from.
    continuous
        Whether all between lowest and highest are drawn.
    """

    values: tuple[float, ...] = (2.5, 8.0)
    continuous: bool = True

    def draw(self, rng: Generator) -> float:
        """One factor."""
        if self.continuous:
            return float(rng.uniform(min(self.values), max(self.values)))
        return float(rng.choice(self.values))


@dataclass(frozen=True)
class Recipe:
    """All that decides a training beside its data; written beside the weights.

    Parameters
    ----------
    network
        Name in the table `NETWORKS`.
    network_settings
        Its settings.
    seed
        Of first weights and examples.
    accelerations, draws, loss, loop, validation
        Masks, examples, what is minimised and how, what is judged.
    """

    network: str
    loop: LoopSettings
    network_settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    accelerations: Accelerations = field(default_factory=Accelerations)
    draws: DrawSettings = field(default_factory=DrawSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Undo `as_dict`, also after JSON made lists of tuples."""
        parts = {
            "accelerations": Accelerations,
            "draws": DrawSettings,
            "loss": LossSettings,
            "loop": LoopSettings,
            "validation": ValidationSettings,
        }
        read = {name: _made(parts[name], value) if name in parts else value for name, value in values.items()}
        return cls(**read)


def recipe_for(network: str, steps: int, *, seed: int = 0, **network_settings: Any) -> Recipe:
    """Recipe of the shipped networks.

    ``joint`` learns every acceleration from 2.5 to 8, by a loss that sees the field and the dipole patterns of nuclei.
    ``cascade`` learns 3 and 5 alone, as the paper's network, and two coils of an example, since it treats each by
    itself.
    """
    require_choice("network", network, NETWORKS)
    recipe = Recipe(network, LoopSettings(steps), network_settings, seed)
    if network == "cascade":
        few = replace(recipe.draws, max_coils=2, max_echoes=4)
        return replace(recipe, accelerations=Accelerations((3.0, 5.0), continuous=False), draws=few)
    weighted = replace(recipe.draws, nuclei_weight=2.0, outside_weight=0.2)
    return replace(recipe, draws=weighted, loss=LossSettings(field=0.5, susceptibility=12.0))


def fit(
    recipe: Recipe,
    out: Path,
    train_folder: Path,
    validation_folder: Path | None,
    *,
    device: torch.device,
    start_from: Path | None = None,
    seconds: float = float("inf"),
    ahead: int = 2,
    resident_bytes: int = 0,
    say: Callable[[str], None] | None = None,
) -> Progress:
    """Train a network by a recipe, or go on with the training that a folder holds.

    Parameters
    ----------
    recipe
        What to do; it must be the one that the folder's checkpoint was made with.
    out
        Gets the checkpoint, the tables, and the weights ``best.safetensors`` and ``last.safetensors``.
    train_folder, validation_folder
        Folders of slabs; without the second nothing is judged.
    device
        Where to train.
    start_from
        Weights to start from instead of random ones.
    seconds
        Time after which this call ends.
    ahead, resident_bytes
        Examples drawn ahead by threads, and memory of the device for whole slabs; see `Examples`.
    say
        Told how it goes.
    """
    network, averaged = make_networks(recipe, device, start_from)
    combines = cast(Network, network).COMBINES
    examples = Examples(
        train_folder,
        poisson_masks(recipe.accelerations),
        recipe.draws,
        device=device,
        combines=combines,
        seed=recipe.seed,
        ahead=ahead,
        resident_bytes=resident_bytes,
    )
    judge = None
    if validation_folder is not None:
        judge = Validation(validation_folder, recipe.validation, combines=combines, device=device)

    def keep(name: str, kept: nn.Module, known: Mapping[str, Any]) -> None:
        card = {
            "version": dlqsm.__version__,
            "recipe": recipe.as_dict(),
            "slabs": len(slab_paths(train_folder)),
            "device": device.type,
            "torch": torch.__version__,
            "result": dict(known),
        }
        save_network(out / f"{name}.safetensors", cast(Network, kept), card)

    try:
        return train(
            network,
            averaged,
            examples,
            out,
            recipe.loop,
            loss=recipe.loss,
            validate=judge,
            keep=keep,
            seconds=seconds,
            say=say,
        )
    finally:
        examples.close()


def make_networks(recipe: Recipe, device: torch.device, start_from: Path | None) -> tuple[nn.Module, nn.Module]:
    """The network to train, from the recipe's seed or from weights, and one of its shape for the average."""
    require_choice("network", recipe.network, NETWORKS)
    kind = NETWORKS[recipe.network]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = kind(**recipe.network_settings) if start_from is None else read_network(kind, start_from)
    averaged = kind(**network.settings)
    return cast(nn.Module, network.to(device)), cast(nn.Module, averaged.to(device))


def poisson_masks(accelerations: Accelerations) -> MaskOf:
    """Poisson-disk masks of random acceleration and density."""

    def draw(shape: tuple[int, int], rng: Generator) -> NDArray[np.bool_]:
        factor, slope = accelerations.draw(rng), float(rng.choice(SLOPES))
        return poisson(shape, factor, int(rng.integers(2**31)), slope=slope).mask

    return draw


class Examples:
    """Examples from a folder of slabs, drawn ahead by threads; the number of an example decides all that is random.

    The folder is looked at again every ``reread`` examples: slabs may still be made while training goes on. As long as
    it does not change, so do the examples.

    Parameters
    ----------
    folder
        Holds slab files.
    mask_of, settings, device, combines
        See `draw_example`.
    seed
        Of the training.
    ahead
        Examples drawn ahead; 0 draws when asked.
    reread
        Examples after which the folder is looked at again.
    resident_bytes
        Memory of the device that may hold whole slabs; the others are read from disk.
    """

    def __init__(
        self,
        folder: Path,
        mask_of: MaskOf,
        settings: DrawSettings,
        *,
        device: torch.device,
        combines: bool,
        seed: int,
        ahead: int = 2,
        reread: int = 100,
        resident_bytes: int = 0,
    ) -> None:
        self.folder, self.mask_of, self.settings = folder, mask_of, settings
        self.device, self.combines, self.seed = device, combines, seed
        self.ahead, self.reread = ahead, reread
        self._files: list[SlabSource] = []
        self._known: dict[Path, SlabSource] = {}
        self._bytes_left = resident_bytes
        self._pool = ThreadPoolExecutor(max(1, min(ahead, 4)))
        self._waiting: dict[int, Future[Example]] = {}
        self._look()

    def __call__(self, number: int) -> Example:
        """Return the example of a number, and begin those that follow."""
        if number % self.reread == 0:
            self._look()
        if not self.ahead:
            return self._draw(number)
        for other in [n for n in self._waiting if not number <= n <= number + self.ahead]:
            self._waiting.pop(other).cancel()
        for later in range(number, number + self.ahead + 1):
            if later not in self._waiting:
                self._waiting[later] = self._pool.submit(self._draw, later)
        return self._waiting.pop(number).result()

    def close(self) -> None:
        """Stop drawing ahead."""
        self._pool.shutdown(cancel_futures=True)

    def _look(self) -> None:
        paths = slab_paths(self.folder)
        if not paths:
            raise InputError(f"{self.folder}: there is no training slab here")
        self._known |= {path: self._open(path) for path in paths if path not in self._known}
        self._files = [self._known[path] for path in paths]

    def _open(self, path: Path) -> SlabSource:
        file = open_slab(path)
        size = 8 * math.prod(file.shape)
        if size > self._bytes_left:
            return file
        self._bytes_left -= size
        return HeldSlab(file.read().to(self.device))

    def _draw(self, number: int) -> Example:
        which = int(np.random.default_rng([self.seed, number, 1]).integers(len(self._files)))
        seeds = (self.seed, number)
        return draw_example(self._files[which], self.mask_of, self.settings, seeds, self.device, self.combines)


def _made(kind: type[Any], values: Mapping[str, Any]) -> Any:
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
