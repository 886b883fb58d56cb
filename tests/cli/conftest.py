"""Small files that the commands take."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dlqsm.cli import main
from dlqsm.core.dipole import susceptibility_to_field
from dlqsm.core.scan import Grid
from dlqsm.io.nifti import write_volume
from dlqsm.io.outputs import write_json

GRID = Grid((28, 30, 24), (1.6, 1.6, 2.0))
ECHO_TIMES_S = (0.0033, 0.0064, 0.0095, 0.0126)
HZ_PER_PPM = 127.732


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ball with two spheres in it: chi, mask, field, labels, magnitude and phase as files."""
    folder = tmp_path_factory.mktemp("phantom")
    x, y, z = torch.meshgrid(
        *[(torch.arange(n) - n // 2) * v for n, v in zip(GRID.shape, GRID.voxel_size_mm, strict=True)], indexing="ij"
    )
    ball = x**2 + y**2 + z**2 < 19**2
    chi = torch.zeros(GRID.shape)
    labels = torch.zeros(GRID.shape, dtype=torch.uint8)
    for number, (centre, value) in enumerate((((-7, 0, 0), 0.12), ((7, 0, 0), 0.08)), start=1):
        inside = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2 < 5**2
        chi[inside], labels[inside] = value, number
    field = susceptibility_to_field(chi, GRID, GRID.b0_direction())
    generator = torch.Generator().manual_seed(5)
    magnitude, phase = [], []
    for time in ECHO_TIMES_S:
        signal = torch.polar(1000 * ball * np.exp(-20 * time), 2 * np.pi * HZ_PER_PPM * time * (field + 0.3 * y / 30))
        noise = torch.randn(2, *GRID.shape, generator=generator) * 8
        noisy = signal + torch.complex(noise[0], noise[1])
        magnitude.append(noisy.abs())
        phase.append(noisy.angle())
    volumes = {"chi": chi, "mask": ball, "labels": labels, "field": field * ball}
    volumes |= {"magnitude": torch.stack(magnitude, -1), "phase": torch.stack(phase, -1)}
    for name, values in volumes.items():
        write_volume(folder / f"{name}.nii.gz", values, GRID)
    write_json(folder / "phase.json", {"Units": "rad", "EchoTime": list(ECHO_TIMES_S), "MagneticFieldStrength": 3.0})
    (folder / "names.tsv").write_text("index\troi\tside\n1\tPu\tleft\n2\tPu\tright\n")
    return folder


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must be refused: exit code 2, one sentence, no traceback; return the sentence."""

    def run(*words: object) -> str:
        capsys.readouterr()
        assert main([str(word) for word in words]) == 2
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        lines = [line for line in said.err.splitlines() if line.startswith("dlqsm")]
        assert len(lines) == 1, said.err
        return lines[0]

    return run
