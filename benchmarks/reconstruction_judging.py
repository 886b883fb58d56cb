"""What `reconstruction.py` measures of images and maps: errors of image, phase and field, and sharpness of edges."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from reconstruction_heads import Problem
from scipy import ndimage

from dlqsm.pipeline import training_validation
from dlqsm.pipeline.training_validation import field_difference_hz, field_hz, image_errors
from dlqsm.qsm.mdi import wrap
from dlqsm.reconstruction.combine import roemer
from dlqsm.reconstruction.training.draws import Example
from dlqsm.reconstruction.training.slabs import TrainingSlab

MEASURES = {
    "nrmse_percent": "complex NRMSE in the brain, coils combined [%]",
    "nrmse_coils_percent": "the same of the coil images, where a method leaves them apart [%]",
    "phase_deg": "phase error in the brain, weighted by the noise-free signal's energy, RMS over voxels and echoes",
    "brain_hz": "field RMSE after MDI in the brain, to the true field, as training is judged",
    "nuclei_hz": "the same in the nuclei",
    "brain_to_clean_hz": "field RMSE in the brain, to the field of the noise-free scan, in the same voxels",
    "nuclei_to_clean_hz": "the same in the nuclei",
    "edge_magnitude": "slope of the magnitude's gradient over the noise-free one's, at the true borders of nuclei",
    "edge_field": "slope of the field's second differences over the noise-free ones, at the true borders of nuclei",
}


def judge_images(problem: Problem, channels: torch.Tensor) -> dict[str, float]:
    """Measure images ``(echo, channel, x, y, z)``: one channel, or coils that are combined with the problem's maps."""
    apart = channels.shape[1] > 1
    images = roemer(channels, problem.maps).unsqueeze(1) if apart else channels
    slab, target = problem.slab, problem.clean
    to_truth = image_errors(images, _example(target), slab)
    certain = certain_voxels(target, slab)
    narrow = replace(slab, brain=slab.brain & certain, nuclei=slab.nuclei & certain, field_hz=None)
    to_clean = image_errors(images, _example(target), narrow)
    found = {
        "nrmse_percent": 100 * to_truth["nrmse"],
        "phase_deg": phase_error_deg(images, target, slab.brain),
        "brain_hz": to_truth["brain_hz"],
        "nuclei_hz": to_truth["nuclei_hz"],
        "brain_to_clean_hz": to_clean["brain_hz"],
        "nuclei_to_clean_hz": to_clean["nuclei_hz"],
        **edges(images, target, problem.labels, slab),
    }
    if apart:
        one_by_one = image_errors(channels, _example(problem.clean_coils), replace(slab, field_hz=None))
        found["nrmse_coils_percent"] = 100 * one_by_one["nrmse"]
    return found


def certain_voxels(target: torch.Tensor, slab: TrainingSlab) -> torch.Tensor:
    """Where the noise-free scan's own field is near the truth: the rule and the limit by which training is judged."""
    off = field_difference_hz(field_hz(target, slab), slab.field_hz, slab.echo_times_s)
    return off.abs() < training_validation.CERTAIN_HZ


def phase_error_deg(images: torch.Tensor, target: torch.Tensor, brain: torch.Tensor) -> float:
    """RMS phase error [degrees] over the brain and all echoes, weighted by the energy of the target."""
    error = torch.angle(images[..., brain] * target[..., brain].conj())
    weight = target[..., brain].abs().square()
    return math.degrees(float((weight * error.square()).sum() / weight.sum()) ** 0.5)


def edges(images: torch.Tensor, target: torch.Tensor, labels: torch.Tensor, slab: TrainingSlab) -> dict[str, float]:
    """Sharpness at the borders of the nuclei: 1 as in the noise-free scan, less where smoothed.

    Noise is not in the noise-free differences that are regressed on; so it does not change the expected slope. Second
    differences of the field leave out the smooth background, which every method returns.
    """
    at = border(labels) & slab.brain & certain_voxels(target, slab)
    magnitude = slope(gradient(images[:, 0].abs()), gradient(target[:, 0].abs()), at)
    fields = [second_differences(field_hz(each, slab), slab) for each in (images, target)]
    return {"edge_magnitude": magnitude, "edge_field": slope(fields[0], fields[1], at)}


def border(labels: torch.Tensor) -> torch.Tensor:
    """Voxels on both sides of the borders of labels, the outermost ones of the volume left out."""
    inside = labels.numpy()
    rim = ndimage.grey_dilation(inside, footprint=_CROSS) != ndimage.grey_erosion(inside, footprint=_CROSS)
    rim[[0, -1]] = rim[:, [0, -1]] = rim[:, :, [0, -1]] = False
    return torch.from_numpy(rim)


def gradient(volumes: torch.Tensor) -> torch.Tensor:
    """Central differences of ``(..., x, y, z)`` along the three axes, stacked in front."""
    return torch.stack([(volumes.roll(-1, axis) - volumes.roll(1, axis)) / 2 for axis in (-3, -2, -1)])


def second_differences(wrapped_hz: torch.Tensor, slab: TrainingSlab) -> torch.Tensor:
    """Second differences along each axis of a field that wraps, stacked in front."""
    turn_s = 2 * math.pi * (slab.echo_times_s[1] - slab.echo_times_s[0])
    found = []
    for axis in (-3, -2, -1):
        step = wrap((wrapped_hz.roll(-1, axis) - wrapped_hz) * turn_s) / turn_s
        found.append(step - step.roll(1, axis))
    return torch.stack(found)


def slope(found: torch.Tensor, expected: torch.Tensor, at: torch.Tensor) -> float:
    """Slope through the origin of ``found`` on ``expected`` over the voxels ``at`` of the last three axes."""
    a, b = found[..., at].double(), expected[..., at].double()
    return float((a * b).sum() / b.square().sum())


def _example(target: torch.Tensor) -> Example:
    nothing = torch.empty(0)
    return Example(nothing, nothing, nothing, target, nothing, (), (1.0, 1.0, 1.0))


_CROSS = ndimage.generate_binary_structure(3, 1)
