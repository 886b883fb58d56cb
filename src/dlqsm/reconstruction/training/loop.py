"""The training loop: AdamW with warm-up and cosine, clipped gradients, averaged weights, exact resumption.

The loop knows nothing of a network but its forward, and nothing of the data but a function from the number of a step to
an `Example`: as that function draws from a generator seeded by the step, a training that was cut anywhere and resumed
ends with the weights of one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from dlqsm.core.checks import InputError
from dlqsm.reconstruction.training.checkpoints import (
    NAME,
    Progress,
    append_row,
    forget_rows_after,
    load_checkpoint,
    mean_of,
    save_checkpoint,
)
from dlqsm.reconstruction.training.draws import NOISE_SD, Example, linear_images
from dlqsm.reconstruction.training.loss import LossSettings, loss_of

LOG: Final = "log.tsv"
VALIDATION: Final = "validation.tsv"
MOST_BAD_STEPS: Final = 20
ExampleOf = Callable[[int], Example]
Validate = Callable[[nn.Module], Mapping[str, float]]
"""Judges a network; the entry ``score`` is what is kept lowest."""
Keep = Callable[[str, nn.Module, Mapping[str, Any]], None]
"""Writes weights under a name (best, last), with what is known of them."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class LoopSettings:
    """How weights are changed.

    Parameters
    ----------
    steps
        Steps of the whole training, after which the learning rate is at its end.
    learning_rate
        Highest learning rate.
    final_rate
        Learning rate at the end over the highest.
    warm_up
        Steps over which the learning rate rises from zero.
    weight_decay
        Of AdamW.
    clip
        Longest gradient.
    average
        Decay of the averaged weights; less in the first steps.
    examples_a_step
        Examples whose gradients are averaged.
    mixed
        Convolutions in bfloat16 on CUDA; transforms, consistency and loss stay in float32.
    compiled
        Use torch.compile.
    log_every
        Steps between lines of the log.
    validate_every
        Steps between validations; 0 validates only at the end.
    checkpoint_seconds
        Seconds between checkpoints.
    """

    steps: int
    learning_rate: float = 1e-3
    final_rate: float = 0.01
    warm_up: int = 100
    weight_decay: float = 1e-4
    clip: float = 1.0
    average: float = 0.999
    examples_a_step: int = 1
    mixed: bool = True
    compiled: bool = False
    log_every: int = 20
    validate_every: int = 500
    checkpoint_seconds: float = 120.0


def train(
    network: nn.Module,
    averaged: nn.Module,
    example_of: ExampleOf,
    folder: Path,
    settings: LoopSettings,
    *,
    loss: LossSettings | None = None,
    validate: Validate | None = None,
    keep: Keep | None = None,
    seconds: float = math.inf,
    say: Say | None = None,
) -> Progress:
    """Train a network, from the checkpoint in the folder if there is one.

    Parameters
    ----------
    network
        What is trained, on the device where examples are.
    averaged
        Another one of the same shape, on the same device, for the moving average of the weights, which is what is
        validated and kept.
    example_of
        Gives the example of a number that counts from 0 over all steps.
    folder
        Holds the checkpoint, ``log.tsv`` and ``validation.tsv``.
    settings
        How weights are changed.
    loss
        Terms of the loss; the complex error alone where None.
    validate
        Judges the averaged network; the last one is kept where None.
    keep
        Writes weights: ``best`` whenever a validation is the best so far, ``last`` at the end.
    seconds
        Time after which the call ends with a checkpoint, to be resumed.
    say
        Told a line whenever the log gets one.

    Returns
    -------
    How far the training is; finished where ``step`` is ``settings.steps``.

    Raises
    ------
    InputError
        If the checkpoint is of another network, or the loss is not finite for many steps in a row.
    """
    run = _Run(network, averaged, folder, settings, loss or LossSettings(), validate, keep, say or (lambda line: None))
    run.resume()
    if run.progress.step >= settings.steps:
        return run.progress
    started = saved = time.perf_counter()
    before = run.progress.seconds
    longest = 0.0
    while run.progress.step < settings.steps and time.perf_counter() - started + longest < seconds:
        began = time.perf_counter()
        run.step(example_of)
        run.progress.seconds = before + time.perf_counter() - started
        run.report()
        if time.perf_counter() - saved > settings.checkpoint_seconds:
            run.save()
            saved = time.perf_counter()
        longest = max(0.9 * longest, time.perf_counter() - began)
    run.finish()
    return run.progress


class _Run:
    """A training under way: the objects that a step changes."""

    def __init__(
        self,
        network: nn.Module,
        averaged: nn.Module,
        folder: Path,
        settings: LoopSettings,
        loss: LossSettings,
        validate: Validate | None,
        keep: Keep | None,
        say: Say,
    ) -> None:
        self.network, self.averaged, self.folder, self.settings = network, averaged, folder, settings
        self.loss, self.validate, self.keep, self.say = loss, validate, keep, say
        self.device = next(network.parameters()).device
        averaged.load_state_dict(network.state_dict())
        averaged.requires_grad_(False).eval()
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.forward = torch.compile(network) if settings.compiled else network
        self.progress = Progress()
        self.bad_steps = 0
        self.last_rate = self.last_norm = 0.0

    def resume(self) -> None:
        """Continue from the checkpoint, where there is one."""
        if (self.folder / NAME).exists():
            self.progress = load_checkpoint(self.folder, self.network, self.averaged, self.optimiser)
            self.bad_steps = 0
        for table in (LOG, VALIDATION):
            forget_rows_after(self.folder / table, self.progress.step)

    def step(self, example_of: ExampleOf) -> None:
        """Change the weights once."""
        settings, n = self.settings, self.settings.examples_a_step
        self.network.train()
        self.optimiser.zero_grad(set_to_none=True)
        losses = []
        for k in range(n):
            example = example_of(self.progress.step * n + k)
            value = self._loss(example)
            (value / n).backward()
            losses.append((value.detach(), self._linear_loss(example)))
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip)
        self.last_rate = learning_rate(self.progress.step, settings)
        for group in self.optimiser.param_groups:
            group["lr"] = self.last_rate
        self.last_norm = float(norm)
        if math.isfinite(self.last_norm):
            self.optimiser.step()
            self.bad_steps = 0
        else:
            self._skip()
        self.progress.step += 1
        update_average(self.averaged, self.network, average_decay(self.progress.step, settings.average))
        self.progress.recent += [(float(a), float(a) / max(float(b), 1e-12)) for a, b in losses]

    def report(self) -> None:
        """Write to the log, and validate, where it is time."""
        step, settings = self.progress.step, self.settings
        if step % settings.log_every == 0 or step == settings.steps:
            self._log()
        if settings.validate_every and step % settings.validate_every == 0 and step < settings.steps:
            self._judge()

    def save(self) -> None:
        """Write the checkpoint."""
        save_checkpoint(self.folder, self.progress, self.network, self.averaged, self.optimiser)

    def finish(self) -> None:
        """Judge and keep the last weights where the training is complete; write the checkpoint."""
        if self.progress.step >= self.settings.steps:
            self._judge()
            if self.keep is not None:
                self.keep("last", self.averaged, {"step": self.progress.step})
        self.save()

    def _loss(self, example: Example) -> torch.Tensor:
        mixed = self.settings.mixed and self.device.type == "cuda"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
            images = self.forward(example.samples, example.sampling_mask, example.maps, NOISE_SD)
        return loss_of(images, example, self.loss)

    @torch.no_grad()
    def _linear_loss(self, example: Example) -> torch.Tensor:
        """Loss of the zero-filled images, which makes losses of different examples comparable."""
        combines = example.held_out is None and example.target.shape[1] < example.samples.shape[1]
        return loss_of(linear_images(example.samples, example.maps, combines), example, self.loss)

    def _skip(self) -> None:
        self.bad_steps += 1
        if self.bad_steps > MOST_BAD_STEPS:
            raise InputError(
                f"the loss was not finite for {MOST_BAD_STEPS} steps in a row; lower the learning rate, or look for "
                "values in the data that are not finite"
            )

    def _log(self) -> None:
        loss, relative = mean_of(self.progress.recent)
        self.progress.recent.clear()
        row = {
            "step": self.progress.step,
            "seconds": round(self.progress.seconds, 1),
            "loss": loss,
            "loss_over_linear": relative,
            "learning_rate": self.last_rate,
            "gradient_norm": self.last_norm,
        }
        append_row(self.folder / LOG, row)
        self.say(f"step {self.progress.step}/{self.settings.steps}  loss {loss:.4f} ({relative:.3f} of linear)")

    @torch.no_grad()
    def _judge(self) -> None:
        """Validate the averaged weights; keep them if none were better."""
        if self.validate is None:
            return
        values = dict(self.validate(self.averaged))
        score = values["score"]
        better = self.progress.best_score is None or score < self.progress.best_score
        if better:
            self.progress.best_score, self.progress.best_step = score, self.progress.step
        row = {"step": self.progress.step, "seconds": round(self.progress.seconds, 1), **values, "kept": int(better)}
        append_row(self.folder / VALIDATION, row)
        self.say("  ".join(f"{name} {value:.4g}" for name, value in values.items()) + ("  best" if better else ""))
        if better and self.keep is not None:
            self.keep("best", self.averaged, row)
        # The best weights on disk and the checkpoint must tell of the same training.
        self.save()


def learning_rate(step: int, settings: LoopSettings) -> float:
    """Learning rate of a step that counts from 0: linear rise, then half a cosine down to its final share."""
    rise = min(1.0, (step + 1) / max(settings.warm_up, 1))
    progress = max(0.0, step - settings.warm_up) / max(settings.steps - settings.warm_up, 1)
    fall = settings.final_rate + (1 - settings.final_rate) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return settings.learning_rate * rise * fall


def average_decay(step: int, decay: float) -> float:
    """Decay of the moving average at a step that counts from 1: (1 + n) / (10 + n) until that reaches ``decay``."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """Move averaged weights towards the network's: a <- decay a + (1 - decay) w; other tensors are copied."""
    weights = network.state_dict()
    for name, value in averaged.state_dict().items():
        if value.is_floating_point():
            value.lerp_(weights[name], 1.0 - decay)
        else:
            value.copy_(weights[name])
