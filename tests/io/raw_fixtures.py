"""Small raw data with every field of the header set, and a way to damage the file made of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from ismrmrd import xsd
from ismrmrd.hdf5 import acquisition_dtype

from dlqsm.core.raw import MemoryRaw, RawHeader, calibration_region
from dlqsm.core.scan import Grid
from dlqsm.io.raw import write_raw


def small_raw(**changes) -> MemoryRaw:
    """12 x 14 x 9 grid, readout oversampled to 20, 3 coils, 2 echoes, every second outer line missing."""
    rng = np.random.default_rng(7)
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    grid = Grid.centred((12, 14, 9), (0.9, 1.1, 2.0), rotation)
    grid = replace(grid, origin_mm=tuple(np.add(grid.origin_mm, (5.0, -3.0, 11.0)).tolist()))
    mask = np.zeros((14, 9), dtype=bool)
    mask[::2] = True
    mask[4:11, 1:8] = True
    lines = np.argwhere(mask).astype(np.int32)
    rng.shuffle(lines)
    region = calibration_region(mask)
    values = {
        "grid": grid,
        "n_readout": 20,
        "n_coils": 3,
        "n_echoes": 2,
        "lines": lines,
        "calibration": region[lines[:, 0], lines[:, 1]],
        "echo_times_s": (0.004, 0.0095),
        "repetition_time_s": 0.03,
        "flip_angle_deg": 15.0,
        "field_strength_t": 2.89,
        "noise": _complex(rng, (3, 500)),
    }
    return MemoryRaw(RawHeader(**(values | changes)), _complex(rng, (len(lines), 2, 3, 20)))


def rewrite(
    source: Path,
    target: Path,
    records: Callable[[np.ndarray], np.ndarray] | None = None,
    xml: Callable[[xsd.ismrmrdHeader], None] | None = None,
) -> Path:
    """Copy a raw file with its acquisitions or its XML header changed."""
    with h5py.File(source) as old, h5py.File(target, "w") as new:
        data, header = old["dataset/data"][:], xsd.CreateFromDocument(old["dataset/xml"][0])
        if records is not None:
            data = records(data)
        if xml is not None:
            xml(header)
        new.create_dataset("dataset/data", data=data, dtype=acquisition_dtype)
        new.create_dataset("dataset/xml", (1,), dtype=h5py.special_dtype(vlen=bytes))[0] = xsd.ToXML(header).encode()
    return target


def written(folder: Path, raw: MemoryRaw | None = None) -> Path:
    path = folder / "raw.h5"
    write_raw(path, raw or small_raw())
    return path


def _complex(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
