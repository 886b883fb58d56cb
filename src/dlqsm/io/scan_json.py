"""``scan.json``: what a reconstruction knows of its scan, for the steps that come after."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dlqsm.core.checks import InputError
from dlqsm.core.scan import Grid, Scan, Vector
from dlqsm.io.outputs import read_json, write_json

_KNOWN = {"echo_times_s", "field_strength_t", "b0_direction", "voxel_size_mm", "shape"}


def write_scan(path: Path, scan: Scan, more: Mapping[str, object]) -> None:
    """Write a scan with units in the names, and what else is known of it."""
    content = {
        "echo_times_s": list(scan.echo_times_s),
        "field_strength_t": scan.field_strength_t,
        "b0_direction": list(scan.b0_direction),
        "voxel_size_mm": list(scan.grid.voxel_size_mm),
        "shape": list(scan.grid.shape),
        **more,
    }
    write_json(path, content)


def read_scan(path: Path, grid: Grid) -> tuple[Scan, dict[str, object]]:
    """Read a scan on the grid of its images; the rest of the file comes back as a dict.

    Raises
    ------
    InputError
        If the file is damaged or its shape is another than the images'.
    """
    content = read_json(path)
    shape = content.get("shape")
    if shape is not None and tuple(_numbers(path, "shape", shape)) != grid.shape:
        raise InputError(f"{path}: describes a scan of shape {shape}; the images have shape {list(grid.shape)}")
    echo_times = tuple(_numbers(path, "echo_times_s", content.get("echo_times_s", [])))
    strength = content.get("field_strength_t")
    b0 = content.get("b0_direction")
    try:
        scan = Scan(
            grid,
            echo_times,
            None if strength is None else _numbers(path, "field_strength_t", [strength])[0],
            (0.0, 0.0, 0.0) if b0 is None else _vector(path, b0),
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return scan, {key: value for key, value in content.items() if key not in _KNOWN}


def _numbers(path: Path, key: str, values: object) -> list[float]:
    if not isinstance(values, list) or any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
        raise InputError(f"{path}: {key} must be a list of numbers; got {values!r}")
    return [float(v) for v in values]


def _vector(path: Path, values: object) -> Vector:
    numbers = _numbers(path, "b0_direction", values)
    if len(numbers) != 3:
        raise InputError(f"{path}: b0_direction must be three numbers; got {values!r}")
    return numbers[0], numbers[1], numbers[2]
