"""One plane of each method's maps, kept for the picture that `reconstruction_figure.py` draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from reconstruction_heads import Problem

from dlqsm.pipeline.training_validation import field_difference_hz, field_hz
from dlqsm.reconstruction.combine import roemer

PANEL_FILE = "reconstruction_panel.npz"


def keep_plane(folder: Path, method: str, strength: str, problem: Problem, channels: torch.Tensor) -> None:
    """Add the plane with most of the nuclei: last echo's magnitude and the field's error [Hz]."""
    path = folder / PANEL_FILE
    images = roemer(channels, problem.maps).unsqueeze(1) if channels.shape[1] > 1 else channels
    slab = problem.slab
    plane = int(slab.nuclei.sum((1, 2)).argmax())
    error = field_difference_hz(field_hz(images, slab), field_hz(problem.clean, slab), slab.echo_times_s)
    name = f"{method}|{strength}"
    kept = {}
    if path.is_file():
        with np.load(path) as file:
            kept = dict(file)
    kept |= {
        f"{name}|magnitude": images[-1, 0, plane].abs().half().numpy(),
        f"{name}|field error": (error * slab.brain)[plane].half().numpy(),
        "truth||magnitude": problem.clean[-1, 0, plane].abs().half().numpy(),
        "truth||labels": problem.labels[plane].numpy(),
        "truth||brain": slab.brain[plane].numpy(),
        "truth||voxel_size_mm": np.asarray(slab.voxel_size_mm[1:]),
    }
    np.savez_compressed(path, **kept)
