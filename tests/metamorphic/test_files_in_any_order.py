"""Echo files in another order, other forms of the same phase, turned volumes: the reader hands over the same scan."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from analytic_scene import Scene, make_scene
from scene_changes import FEW_TURNS, Turn

from dlqsm.core.checks import InputError
from dlqsm.io.images import EchoSeries, read_complex_series, read_echo_series

NOT_TURNED = Turn((0, 1, 2), (False, False, False))
TOLD = {"echo_times_s": None, "field_strength_t": None, "b0_direction": None}


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(dtype=torch.float32)


def written(folder: Path, scene: Scene, kinds: tuple[str, str], units: str = "rad") -> tuple[list[Path], list[Path]]:
    """One file an echo, its coils along the fifth axis, with its sidecar."""
    images = scene.images
    parts = {"m": scene.magnitude, "p": scene.phase_rad, "re": images.real, "im": images.imag}
    found = []
    for kind in kinds:
        files = []
        for echo, (volume, time_s) in enumerate(zip(parts[kind], scene.scan.echo_times_s, strict=True)):
            path = folder / f"{kind}{echo}.nii.gz"
            values = np.moveaxis(volume.numpy(), 0, -1)[:, :, :, None, :]
            nib.Nifti1Image(values, scene.scan.grid.affine).to_filename(path)
            told = {"EchoTime": time_s, "MagneticFieldStrength": 3, "Units": units}
            path.with_name(f"{kind}{echo}.json").write_text(json.dumps(told))
            files.append(path)
        found.append(files)
    return found[0], found[1]


def read(magnitude: list[Path], phase: list[Path], **told) -> EchoSeries:
    return read_echo_series(magnitude, phase, phase_unit=None, **{**TOLD, **told})


def test_echoes_in_another_order_are_the_same_scan(tmp_path, scene):
    magnitude, phase = written(tmp_path, scene, ("m", "p"))
    order = [2, 0, 3, 1]
    first, other = read(magnitude, phase), read([magnitude[i] for i in order], [phase[i] for i in order])
    assert first.scan == other.scan
    assert torch.equal(first.magnitude, other.magnitude)
    assert torch.equal(first.phase_rad, other.phase_rad)


def test_times_given_in_another_order_are_refused(tmp_path, scene):
    """Options stand for the files as they are named: nothing is sorted that somebody wrote down."""
    magnitude, phase = written(tmp_path, scene, ("m", "p"))
    with pytest.raises(InputError, match="must ascend"):
        read(magnitude, phase, echo_times_s=[0.014, 0.004, 0.019, 0.009])


def test_real_and_imaginary_parts_are_the_same_scan(tmp_path, scene):
    polar = read(*written(tmp_path, scene, ("m", "p")))
    parts = read_complex_series(*written(tmp_path, scene, ("re", "im")), **TOLD)
    assert parts.scan == polar.scan
    difference = torch.polar(parts.magnitude, parts.phase_rad) - torch.polar(polar.magnitude, polar.phase_rad)
    assert float(difference.abs().max()) < 1e-5


@pytest.mark.parametrize("turn", FEW_TURNS, ids=lambda turn: turn.name)
def test_a_turned_file_is_the_same_world(tmp_path, scene, turn):
    """B0 along the new axes is B0 along the old ones, turned, and every voxel stays where it was."""
    straight, turned = (read(*written(tmp_path, t(scene), ("m", "p"))) for t in (NOT_TURNED, turn))
    assert torch.equal(turn.back(turned.phase_rad), straight.phase_rad)
    b0, signs = np.array(straight.scan.b0_direction), np.where(turn.flips, -1.0, 1.0)
    assert np.allclose(turned.scan.b0_direction, signs * b0[list(turn.order)], atol=1e-6)
    place = np.array([3.0, 4.0, 5.0])
    stored = place[list(turn.order)]
    stored = np.where(turn.flips, np.array(turned.scan.grid.shape) - 1 - stored, stored)
    assert np.allclose(turned.scan.grid.affine @ [*stored, 1], straight.scan.grid.affine @ [*place, 1], atol=1e-4)
