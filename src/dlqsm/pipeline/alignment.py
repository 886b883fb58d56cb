"""The registrations of one participant: other arms, a T1-weighted image and the atlas, each to the reference arm."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from dlqsm.core.alarms import least_of
from dlqsm.core.atlas import Atlas
from dlqsm.core.scan import Grid
from dlqsm.nuclei import placement, registration
from dlqsm.nuclei.placement import Picture, Placement, local_correlation, place_atlas
from dlqsm.nuclei.registration import motion_of, rigid
from dlqsm.nuclei.transforms import Chain, Linear, isotropic_grid, positions, resample
from dlqsm.pipeline.transform_store import Made, fingerprint, kept

Report = Callable[[str, float], None]
LOW_CORRELATION: Final = least_of("atlas_score")
"""Local correlation of image and placed template below which a warning is given."""
LARGEST_LOSS: Final = 0.05
"""What the deformation may cost of it: susceptibility weighs more there than the image."""
SAME_HEAD: Final = least_of("arm_score")
"""Local correlation of the magnitudes of two arms, after rigid registration, below which they may show two heads.

Measured on virtual heads: one head 0.99 at 1.6 mm and at least 0.886 at 4 mm voxels (AF 2 with AF 3), two heads at most
0.81 there.
"""


@dataclass(frozen=True, slots=True, eq=False)
class ArmMap:
    """One arm of one participant, all on its own grid.

    Parameters
    ----------
    name
        The arm.
    grid
        Its grid.
    magnitude
        Combined over echoes, ``(x, y, z)``.
    chi_ppm
        Susceptibility [ppm].
    brain, valid
        Brain mask before erosion, and the eroded mask where the susceptibility is valid; bool.
    """

    name: str
    grid: Grid
    magnitude: torch.Tensor
    chi_ppm: torch.Tensor
    brain: torch.Tensor
    valid: torch.Tensor


@dataclass(frozen=True)
class Alignment:
    """What the registrations of one participant share."""

    leading: ArmMap
    atlas: Atlas
    channels: str
    store: Path | None
    seed: int
    report: Report

    def motion(self, arm: ArmMap) -> tuple[Linear, dict[str, Any]]:
        """Rigid motion from the reference arm's points to another arm's, and its account."""
        if arm is self.leading:
            return Linear(np.eye(4)), {"rotation_deg": 0.0, "translation_mm": 0.0, "transform": "none: the reference"}
        inputs = _prints(self.leading, "magnitude", "brain") | {
            f"{arm.name} magnitude": fingerprint(arm.magnitude, arm.grid)
        }
        name = f"from-{self.leading.name}_to-{arm.name}_xfm"
        chain, account = self._kept(name, inputs, lambda: self._find_motion(arm))
        return _linear(chain), account

    def placement(
        self, t1w: tuple[torch.Tensor, Grid] | None, shared: Sequence[tuple[ArmMap, Linear]]
    ) -> tuple[Placement, dict[str, Any]]:
        """Where the atlas lies in the reference arm's space.

        ``shared`` holds the arms that `agreeing` left with the motion to each: their mean susceptibility places the
        atlas, for labels fitted to the noise of the reference arm would favour it. On virtual people scanned twice by
        one method they made the second scan's external pallidum 0.7 and 1.0 ppb lower (two cohorts of 59), true labels
        0.3 and 0.1 ppb.
        """
        inputs = _prints(self.leading, "magnitude", "brain")
        for arm, _ in shared:  # the motion follows from the magnitude
            inputs |= _prints(arm, "magnitude", "chi_ppm", "valid")
        inputs |= {
            f"atlas {part}": fingerprint(getattr(self.atlas, part), self.atlas.grid)
            for part in ("template", "probabilities", "brain", "chi_ppm")
            if getattr(self.atlas, part) is not None
        }
        if t1w is not None:
            inputs["T1w"] = fingerprint(*t1w)
        name = f"from-{self.leading.name}_to-{self.atlas.name}_xfm"
        chain, account = self._kept(name, inputs, lambda: self._place(t1w, shared))
        box = Grid(tuple(account["box_shape"]), (placement.FINE_MM,) * 3, origin_mm=tuple(account["box_origin_mm"]))
        correlation = account["local_correlation"]
        _warn_of_placement(correlation["after"], correlation["before"], self.leading.name)
        return Placement(chain, box, correlation["before"], correlation["after"]), account

    def agreeing(
        self, moved: Mapping[str, tuple[Linear, dict[str, Any]]], arms: Sequence[ArmMap]
    ) -> tuple[list[tuple[ArmMap, Linear]], dict[str, str]]:
        """The arms that may place the atlas for all, and why the others may not: one bad scan must not move them all.

        ``moved`` holds what `motion` gave for each arm.
        """
        own, kept, left_out = self.leading, [], {}
        for arm in arms:
            motion, account = moved[arm.name]
            score = account.get("local_correlation", {}).get("after", 1.0)
            likeness = _likeness(own, arm, motion) if arm is not own else 1.0
            if score < SAME_HEAD:
                left_out[arm.name] = f"local correlation of its image with that of {own.name} is {score:.2f}"
            elif likeness < 0.0:
                left_out[arm.name] = f"correlation of its susceptibility with that of {own.name} is {likeness:.2f}"
            else:
                kept.append((arm, motion))
        return kept, left_out

    def _kept(self, name: str, inputs: dict[str, str], make: Callable[[], Made]) -> tuple[Chain, dict[str, Any]]:
        start = time.perf_counter()
        parameters = {"seed": self.seed, "channels": self.channels, **registration.settings(), **placement.settings()}
        chain, account, reused = kept(self.store, name, inputs, parameters, make)
        self.report(f"{name} (kept)" if reused else name, time.perf_counter() - start)
        return chain, account | {"transform": f"{name}, {'reused' if reused else 'made'}"}

    def _find_motion(self, arm: ArmMap) -> Made:
        own = self.leading
        fixed = own.magnitude * own.brain
        found = rigid(fixed, own.grid, arm.magnitude, arm.grid, mask=own.brain, seed=self.seed)
        grid = isotropic_grid(positions(own.grid)[own.brain], placement.COARSE_MM, 0.0)
        inside = Picture(own.brain, own.grid).on(grid) > 0.5
        mine = Picture(own.magnitude, own.grid).on(grid)
        before, after = (
            local_correlation(mine, Picture(arm.magnitude, arm.grid, chain).on(grid), inside)
            for chain in ((), (found,))
        )
        return (found,), _motion_account(found, own) | {"local_correlation": {"before": before, "after": after}}

    def _place(self, t1w: tuple[torch.Tensor, Grid] | None, shared: Sequence[tuple[ArmMap, Linear]]) -> Made:
        own = self.leading
        account: dict[str, Any] = {}
        image = Picture(own.magnitude, own.grid)
        if t1w is not None:
            volume, grid = t1w
            to_t1w = rigid(own.magnitude * own.brain, own.grid, volume, grid, mask=own.brain, seed=self.seed)
            image = Picture(volume, grid, (to_t1w,))
            account["t1w"] = _motion_account(to_t1w, own)
        with_chi = shared if self.channels.endswith("chi") else ()
        chi = [Picture(arm.chi_ppm * arm.valid, arm.grid, (motion,)) for arm, motion in with_chi]
        placed = place_atlas(
            image, chi, Picture(own.brain, own.grid), self.atlas, chi_throughout=t1w is None, seed=self.seed
        )
        account |= {
            "channels": self.channels,
            "susceptibility": [arm.name for arm, _ in with_chi],
            "atlas": {"name": self.atlas.name, **self.atlas.source},
            "local_correlation": {"before": placed.correlation_before, "after": placed.correlation_after},
            "box_shape": list(placed.box.shape),
            "box_origin_mm": list(placed.box.origin_mm),
        }
        return placed.chain, account


def _likeness(first: ArmMap, second: ArmMap, motion: Linear) -> float:
    """Correlation of two susceptibilities where both are valid; below zero where one phase is turned over."""
    there, shown = (
        resample(volume[None].float(), second.grid, first.grid, (motion,))[0]
        for volume in (second.chi_ppm * second.valid, second.valid)
    )
    both = first.valid & (shown >= 0.5)
    values = torch.stack([volume[both].double().clamp(*placement.CHI_WINDOW_PPM) for volume in (first.chi_ppm, there)])
    found = float(torch.corrcoef(values)[0, 1]) if values.shape[1] > 1 else 0.0
    return 0.0 if math.isnan(found) else found


def _motion_account(found: Linear, own: ArmMap) -> dict[str, Any]:
    centre = positions(own.grid)[own.brain].double().mean(0).numpy()
    angle, shift = motion_of(found, centre)
    return {"rotation_deg": round(angle, 4), "translation_mm": round(shift, 4)}


def _warn_of_placement(after: float, before: float, arm: str) -> None:
    if after < LOW_CORRELATION or after < before - LARGEST_LOSS:
        warnings.warn(
            f"the atlas may be misplaced in arm {arm}: local correlation {after:.2f} (affine: {before:.2f}); "
            "look at the registration picture",
            stacklevel=3,
        )


def _prints(arm: ArmMap, *parts: str) -> dict[str, str]:
    return {f"{arm.name} {part}": fingerprint(getattr(arm, part), arm.grid) for part in parts}


def _linear(chain: Chain) -> Linear:
    (linear,) = chain
    assert isinstance(linear, Linear)
    return linear
