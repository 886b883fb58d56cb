"""Checks of the phase on raw data of virtual heads: right and turned sign, noise, homodyne filters; prints a table.

    dlqsm simulate cohort --participants 6 --arms PI2
    python benchmarks/phase_checks.py cohort/sourcedata/sub-*/anat/*_acq-PI2_MEGRE.h5 [--noise 1 3] [--kernels 32 64]

Each file is reconstructed by ``sense`` and mapped by the default steps; a map counts as stopped where `dlqsm qsm` would
stop. ``--noise`` adds that many times the noise of the images; the sign is looked at in each, the filter without noise.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from pathlib import Path

import torch

from dlqsm.config import QsmConfig
from dlqsm.core.scan import Scan
from dlqsm.io.raw import read_raw
from dlqsm.pipeline import QsmMaps, map_susceptibility, sums_of_images
from dlqsm.pipeline.phase_trust import phase_trust
from dlqsm.qsm.noise import noise_of_magnitude
from dlqsm.qsm.poles import poles_of_echoes
from dlqsm.qsm.slice_sign import slice_sign, without_alternation
from dlqsm.reconstruction.reconstruct import reconstruct


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path, nargs="+")
    parser.add_argument("--noise", type=float, nargs="*", default=[1.0])
    parser.add_argument("--kernels", type=int, nargs="*", default=[32, 64])
    parser.add_argument("--inversion", default="l1")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = QsmConfig().with_step("inversion", arguments.inversion, {})
    verdicts: Counter[tuple[str, str]] = Counter()
    for path in arguments.raw:
        raw = read_raw(path)
        images, scan = reconstruct(raw, "sense", seed=0).images, raw.header.scan
        for level in (0.0, *arguments.noise):
            for sign, name in ((1.0, "right sign"), (-1.0, "turned")):
                told = examine(images.abs(), sign * images.angle(), scan, config, level)
                report(path, f"{name}, noise x {1 + level:g}", told, verdicts)
        for window in ("square", "Hann"):
            for kernel in (k for k in arguments.kernels if k < min(images.shape[1:3])):
                told = examine(images.abs(), homodyne(images, kernel, window), scan, config, 0.0)
                report(path, f"{window} {kernel}", told, verdicts)
        print(f"{path.name:<40}slices: {slices(images)}", flush=True)
    for (case, verdict), count in sorted(verdicts.items()):
        print(f"{case:<28}{verdict:<24}{count:>4}")
    return 0


def examine(magnitude: torch.Tensor, phase_rad: torch.Tensor, scan: Scan, config: QsmConfig, level: float) -> dict:
    """Checks of the maps of echo images, with noise of ``level`` times that of the images added."""
    if level:
        generator = torch.Generator().manual_seed(1)
        noise = (
            level * float(noise_of_magnitude(magnitude[0])) * torch.randn((2, *magnitude.shape), generator=generator)
        )
        image = torch.polar(magnitude, phase_rad) + torch.complex(noise[0], noise[1])
        magnitude, phase_rad = image.abs(), image.angle()
    maps: QsmMaps = map_susceptibility(sums_of_images(magnitude, phase_rad), scan, config)
    return phase_trust(maps, scan, poles_of_echoes(phase_rad), "the phase of each echo").as_dict()


def homodyne(images: torch.Tensor, kernel: int, window: str) -> torch.Tensor:
    """Phase [rad] of each slice divided by its image of ``kernel`` x ``kernel`` central samples."""
    weights = []
    for n in images.shape[1:3]:
        place = torch.fft.fftfreq(n, 1.0 / n) / kernel
        inside = (place.abs() < 0.5).float()
        weights.append(inside * torch.cos(math.pi * place) ** 2 if window == "Hann" else inside)
    k = torch.fft.fft2(images, dim=(1, 2)) * (weights[0][:, None] * weights[1])[..., None]
    return torch.angle(images * torch.fft.ifft2(k, dim=(1, 2)).conj())


def report(path: Path, case: str, told: dict, verdicts: Counter[tuple[str, str]]) -> None:
    """Print one line, and count the verdicts."""
    sign, spread = told["sign"], told["field_spread"]
    verdicts[case, f"{sign['verdict']}, {spread['verdict']}"] += 1
    print(
        f"{path.name:<40}{case:<28}score {sign['score']:6.2f} {sign['verdict']:<12} low {spread['low_ppb']:6.2f} high "
        f"{spread['high_ppb']:6.1f} ppb {spread['verdict']:<9} poles {sum(told['poles']['n_poles'])}",
        flush=True,
    )


def slices(images: torch.Tensor) -> str:
    """Coherence of neighbouring slices as they are, and where each second one is turned."""
    magnitude, phase_rad = images[0].abs(), images[0].angle()
    found = [slice_sign(magnitude, p) for p in (phase_rad, without_alternation(phase_rad))]
    return ", ".join(f"{f.neighbour:.2f} {f.next_but_one:.2f} {f.alternates}" for f in found)


if __name__ == "__main__":
    raise SystemExit(main())
