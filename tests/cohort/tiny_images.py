"""Echo images of a ball with two spheres in it, as a BIDS dataset of any form: seconds from images to values."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from dlqsm.core.dipole import susceptibility_to_field
from dlqsm.core.fourier import fftc
from dlqsm.core.raw import MemoryRaw, RawHeader
from dlqsm.core.scan import Grid
from dlqsm.io.bids_names import COIL, join_name
from dlqsm.io.nifti import write_volume
from dlqsm.io.outputs import write_json

GRID = Grid((28, 30, 24), (1.6, 1.6, 2.0))
ECHO_TIMES_S = (0.0033, 0.0064, 0.0095, 0.0126)
HZ_PER_PPM = 127.732
N_COILS = 3


def signal(seed: int = 5) -> torch.Tensor:
    """Complex images ``(echo, x, y, z)`` with noise."""
    x, y, z = torch.meshgrid(
        *[(torch.arange(n) - n // 2) * v for n, v in zip(GRID.shape, GRID.voxel_size_mm, strict=True)], indexing="ij"
    )
    ball = x**2 + y**2 + z**2 < 19**2
    chi_ppm = torch.zeros(GRID.shape)
    for centre_mm, value_ppm in ((-7, 0.12), (7, 0.08)):
        chi_ppm[(x - centre_mm) ** 2 + y**2 + z**2 < 5**2] = value_ppm
    field_hz = HZ_PER_PPM * (susceptibility_to_field(chi_ppm, GRID, GRID.b0_direction()) + 0.3 * y / 30)
    times_s = torch.tensor(ECHO_TIMES_S)[:, None, None, None]
    noise = torch.randn(2, len(ECHO_TIMES_S), *GRID.shape, generator=torch.Generator().manual_seed(seed)) * 8
    return torch.polar(1000 * ball * torch.exp(-20 * times_s), 2 * torch.pi * times_s * field_hz) + torch.complex(
        *noise
    )


def coil_images(images: torch.Tensor) -> list[torch.Tensor]:
    """What three coils with sensitivities and phases of their own receive."""
    x = torch.linspace(-1, 1, GRID.shape[0])[:, None, None]
    weights = (torch.exp(-((x + 0.6) ** 2)), torch.exp(-(x**2)), torch.exp(-((x - 0.6) ** 2)))
    return [images * w * torch.exp(1j * torch.tensor(0.9 * n)) for n, w in enumerate(weights)]


def raw_scan(seed: int) -> MemoryRaw:
    """Raw data of the tiny images in three coils, every second line beside the centre left out."""
    images = torch.stack(coil_images(signal(seed)), dim=1)
    kspace = fftc(images, (-3, -2, -1)).numpy().astype(np.complex64)
    nx, ny, nz = GRID.shape
    mask = np.zeros((ny, nz), bool)
    mask[::2], mask[ny // 2 - 5 : ny // 2 + 5] = True, True
    lines = np.argwhere(mask).astype(np.int32)
    calibration = np.abs(lines[:, 0] - ny // 2) < 5
    samples = np.ascontiguousarray(np.moveaxis(kspace[..., lines[:, 0], lines[:, 1]], -1, 0))
    header = RawHeader(GRID, nx, images.shape[1], len(ECHO_TIMES_S), lines, calibration, ECHO_TIMES_S, 0.03, 15.0, 3.0)
    return MemoryRaw(header, samples)


def write_scan(
    root: Path,
    images: torch.Tensor,
    parts: Sequence[str] = ("mag", "phase"),
    *,
    coil: int | None = None,
    **entities: str,
) -> None:
    """Write one file an echo and part, with sidecars; ``entities`` as in names, ``sub`` among them."""
    folder = root / f"sub-{entities['sub']}" / (f"ses-{entities['ses']}" if "ses" in entities else "") / "anat"
    folder.mkdir(parents=True, exist_ok=True)
    take = {"mag": torch.abs, "phase": torch.angle, "real": torch.real, "imag": torch.imag}
    for part in parts:
        for echo, time_s in enumerate(ECHO_TIMES_S, start=1):
            name = join_name({**entities, "echo": str(echo), "part": part}, "MEGRE")
            if coil is not None:
                name = name.replace("_echo-", f"_{COIL}-{coil:02d}_echo-")
            write_volume(folder / name, take[part](images[echo - 1]).float().contiguous(), GRID)
            content = {"EchoTime": time_s, "MagneticFieldStrength": 3.0}
            write_json(
                folder / name.replace(".nii.gz", ".json"), {**content, **({"Units": "rad"} if part == "phase" else {})}
            )


def describe_scans(root: Path, ages: dict[str, float]) -> None:
    """Write what describes the dataset, participants with their ages among it."""
    write_json(root / "dataset_description.json", {"Name": "tiny", "BIDSVersion": "1.11.0", "DatasetType": "raw"})
    rows = [f"{label}\t{age_years}\tF" for label, age_years in ages.items()]
    (root / "participants.tsv").write_text("\n".join(["participant_id\tage\tsex", *rows]) + "\n")
    (root / "README").write_text("A ball with two spheres in it.\n")
