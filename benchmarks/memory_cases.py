"""Sizes and commands of `memory_plan`, each command on what those before it have made."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dlqsm.qsm.background import BACKGROUND_REMOVERS
from dlqsm.qsm.inversion import INVERSIONS
from dlqsm.qsm.unwrap import UNWRAPPERS
from dlqsm.reconstruction import RECONSTRUCTIONS

SIZES: Final = {
    "32": ((32, 32, 32), 4, 4),
    "64": ((64, 64, 64), 4, 4),
    "96": ((96, 96, 64), 8, 4),
    "128": ((128, 128, 64), 8, 4),
    "200": ((200, 200, 80), 8, 12),
    "paper": ((280, 280, 96), 8, 32),
}
"""Matrix, echoes, coils; ``32`` is for trying the benchmark itself."""
EACH_METHOD: Final = ("32", "64", "200")
"""Sizes at which every method is measured, a small and a large one; the others take the defaults."""
ACCELERATION: Final = "3"


def inputs(folder: Path, size: str) -> None:
    """Make the scan of a size, in a process of its own."""
    shape, n_echoes, n_coils = SIZES[size]
    if not (folder / "full.h5").exists():
        words = [folder, *shape, n_echoes, n_coils]
        subprocess.run([sys.executable, Path(__file__).with_name("memory_head.py"), *map(str, words)], check=True)


def cases(folder: Path, size: str) -> Iterator[tuple[str, list[str]]]:
    """Name and words of each command."""
    for name, words in _cases(folder, size, each=size in EACH_METHOD):
        yield name, [str(word) for word in words]


def _cases(folder: Path, size: str, *, each: bool) -> Iterator[tuple[str, list[object]]]:
    full, raw = folder / "full.h5", folder / "raw.h5"
    yield "undersample", ["undersample", full, raw, "--acceleration", ACCELERATION]
    yield "convert raw", ["convert", raw, folder / "converted.h5"]
    for method in RECONSTRUCTIONS if each else ("sense", "joint"):
        yield f"recon --method {method}", ["recon", raw, folder / f"recon-{method}", "--method", method]
    recon, maps = folder / "recon-sense", folder / "qsm"
    yield "qsm --recon", ["qsm", maps, "--recon", recon]
    images = ["--magnitude", recon / "magnitude.nii.gz", "--phase", recon / "phase.nii.gz"]
    yield "qsm --magnitude --phase", ["qsm", folder / "qsm-images", *images, "--scan", recon / "scan.json"]
    yield "qsm --uncertainty 8", ["qsm", folder / "qsm-noise", "--recon", recon, "--uncertainty", 8]
    yield from _single_steps(folder, recon, maps, each=each)
    chi, magnitude = maps / "Chimap.nii.gz", recon / "magnitude.nii.gz"
    about = ["--participant", "01", "--arm", "FULL"]
    yield (
        "nuclei --atlas",
        ["nuclei", chi, folder / "nuclei.tsv", *about, "--magnitude", magnitude, "--atlas", "virtual"],
    )
    labels = ["--labels", folder / "labels.nii.gz", "--names", folder / "labels.tsv"]
    yield "nuclei --labels", ["nuclei", chi, folder / "given.tsv", *about, *labels]
    similar = ["--mask", maps / "mask_desc-eroded.nii.gz", "--json", folder / "compare.json"]
    yield "compare", ["compare", chi, folder / "chi.nii.gz", *similar]
    yield "report", ["report", maps]
    yield "train", ["train", folder / "train", "--data", full, "--network", "joint", "--steps", 2]
    yield "simulate", _simulate(folder, size)
    study = ["run", folder / "bids", folder / "derivatives", "participant", "--workers", 1, "--method", "sense"]
    yield "run", study


def _single_steps(folder: Path, recon: Path, maps: Path, *, each: bool) -> Iterator[tuple[str, list[object]]]:
    mask, eroded = ["--mask", maps / "mask.nii.gz"], ["--mask", maps / "mask_desc-eroded.nii.gz"]
    noise = ["--noise", maps / "fieldmap_desc-noise.nii.gz"]
    phase, magnitude = recon / "phase.nii.gz", ["--magnitude", recon / "magnitude.nii.gz"]
    for method in UNWRAPPERS if each else ("spun",):
        target = folder / f"unwrapped-{method}.nii.gz"
        yield f"unwrap --method {method}", ["unwrap", phase, target, *mask, *magnitude, "--method", method]
    total, local = maps / "fieldmap_desc-total.nii.gz", maps / "fieldmap_desc-local.nii.gz"
    for method in BACKGROUND_REMOVERS if each else ("pdf_tv",):
        out = [folder / f"local-{method}.nii.gz", "--mask-out", folder / f"valid-{method}.nii.gz", "--unit", "hz"]
        yield f"background --method {method}", ["background", total, *out, *mask, *noise, "--method", method]
    for method in INVERSIONS if each else ("l1",):
        out = [folder / f"chi-{method}.nii.gz", "--unit", "hz", "--field-strength", 3]
        yield f"invert --method {method}", ["invert", local, *out, *eroded, *noise, "--method", method]


def _simulate(folder: Path, size: str) -> list[object]:
    """A virtual scan of the same matrix, undersampled by three."""
    shape, n_echoes, n_coils = SIZES[size]
    edges = [round(mm / n, 3) for mm, n in zip((205.0, 205.0, 160.0), shape, strict=True)]
    times = [round(3.3e-3 + 3.1e-3 * echo, 6) for echo in range(n_echoes)]
    (folder / "protocol.toml").write_text(
        f'base = "small"\nname = "memory"\nshape = {list(shape)}\nvoxel_size_mm = {edges}\nfine_factor = [2, 2, 2]\n'
        f"n_coils = {n_coils}\necho_times_s = {times}\n"
    )
    return ["simulate", folder / "bids", "--participants", 1, "--protocol", folder / "protocol.toml", "--arms", "DL3"]
