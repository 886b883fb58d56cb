"""Convert an undersampled 8-channel brain slice to ISMRMRD, reconstruct it, and predict samples that were held back.

The data are in-vivo k-space of the SigPy tutorial (BSD-3, mikgroup/sigpy-mri-tutorial): coil x 230 x 180, zero where
not sampled. The slice has two phase axes and no readout, so that it becomes 3-D data of a single x-plane. Neither echo
time nor geometry is known; the reconstruction needs neither.

Usage: DLQSM_SHARED_DATA=... python examples/sigpy_to_ismrmrd.py [OUT_DIR]
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch

from dlqsm.core.fourier import fftc
from dlqsm.core.raw import MemoryRaw, RawHeader, calibration_region, undersample
from dlqsm.core.scan import Grid
from dlqsm.io.raw import read_raw, write_raw
from dlqsm.reconstruction.hybrid import calibrate, to_hybrid
from dlqsm.reconstruction.reconstruct import reconstruct
from dlqsm.reconstruction.sensitivity import espirit

HELD_BACK = 0.1
SEED = 0


def convert(kspace: np.ndarray, path: Path) -> None:
    """Write ``(coil, ky, kz)`` k-space as ISMRMRD."""
    n_coils, ny, nz = kspace.shape
    mask = np.abs(kspace).sum(axis=0) > 0
    lines = np.argwhere(mask).astype(np.int32)
    header = RawHeader(
        grid=Grid((1, ny, nz), (1.0, 1.0, 1.0)),
        n_readout=1,
        n_coils=n_coils,
        n_echoes=1,
        lines=lines,
        calibration=calibration_region(mask)[lines[:, 0], lines[:, 1]],
    )
    samples = kspace[:, lines[:, 0], lines[:, 1]].T[:, None, :, None]
    write_raw(path, MemoryRaw(header, np.ascontiguousarray(samples, np.complex64)))


def hold_back(mask: np.ndarray) -> np.ndarray:
    """Draw the samples to hold back, outside the calibration region."""
    candidates = np.argwhere(mask & ~calibration_region(mask))
    n = round(HELD_BACK * int(mask.sum()))
    chosen = np.random.default_rng(SEED).choice(len(candidates), n, replace=False)
    held = np.zeros_like(mask)
    held[tuple(candidates[chosen].T)] = True
    return held


def main(folder: Path) -> None:
    source = Path(os.environ.get("DLQSM_SHARED_DATA", ".")) / "sigpy_brain_8ch" / "cartesian_ksp.npy"
    folder.mkdir(parents=True, exist_ok=True)
    convert(np.load(source), folder / "sigpy_brain.h5")
    raw = read_raw(folder / "sigpy_brain.h5")
    held = hold_back(raw.header.sampling_mask)
    kept = undersample(raw, raw.header.sampling_mask & ~held)

    calibration = calibrate(kept)
    maps = espirit(calibration.kspace, calibration.lines, raw.header.grid.shape).slab(0, 1)
    measured = to_hybrid(raw, calibration).slab(0, 1)[0][..., torch.from_numpy(held)]
    print(f"net acceleration {raw.header.acceleration:.2f}; {int(held.sum())} samples of each coil held back")
    pictures = {}
    for method in ("zero", "sense"):
        result = reconstruct(kept, method, uncombined=True)
        # Zero-filling predicts zeros; SENSE predicts each coil as its sensitivity times the image.
        coils = result.images * maps if result.uncombined is None else result.uncombined[0]
        predicted = fftc(coils, (-2, -1))[..., torch.from_numpy(held)]
        error = float((predicted - measured).norm() / measured.norm())
        print(f"{method}: relative error of the samples held back {error:.4f}")
        pictures[method] = reconstruct(raw, method).images[0, 0].abs().numpy()
    save_picture(pictures, folder / "sigpy_brain.png")


def save_picture(pictures: dict[str, np.ndarray], path: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no picture: matplotlib is not installed")
        return
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    for axes, (name, picture) in zip(figure.subplots(1, len(pictures)), pictures.items(), strict=True):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=np.quantile(picture, 0.995))
        axes.set_title(name)
        axes.axis("off")
    figure.savefig(path, dpi=130)
    print(f"picture: {path}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("sigpy_brain"))
