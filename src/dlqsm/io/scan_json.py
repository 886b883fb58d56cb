"""``scan.json``: what a reconstruction knows of its scan, for the steps that come after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dlqsm.core.checks import InputError, require_direction
from dlqsm.core.scan import Grid, Scan, Vector
from dlqsm.io.files import number_of, shown
from dlqsm.io.outputs import read_json, write_json

NO_FILE = Path("options")
"""In place of a file where options alone tell of a scan."""
_KNOWN = {"echo_times_s", "field_strength_t", "b0_direction", "voxel_size_mm", "shape"}


@dataclass(frozen=True, slots=True)
class ScanFile:
    """Content of a ``scan.json``; what it does not say is None, ``about`` holds all that is not geometry or timing."""

    path: Path
    echo_times_s: tuple[float, ...] | None
    field_strength_t: float | None
    b0_direction: Vector | None
    shape: tuple[int, ...] | None
    about: dict[str, object]

    def scan(self, grid: Grid) -> Scan:
        """The `Scan` on the grid of its images.

        Raises
        ------
        InputError
            If the file describes images of another shape, or its values cannot be used.
        """
        if self.shape is not None and self.shape != grid.shape:
            raise InputError(f"{self.path}: describes a scan of shape {self.shape}; the images have shape {grid.shape}")
        direction = self.b0_direction or (0.0, 0.0, 0.0)
        try:
            return Scan(grid, self.echo_times_s or (), self.field_strength_t, direction)
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from None


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


def read_scan(path: Path) -> ScanFile:
    """Read a ``scan.json``, or raise `InputError` naming the entry that cannot be used."""
    content = read_json(path)
    if not _KNOWN & set(content):
        raise InputError(
            f"{path}: tells nothing of a scan; expected any of {', '.join(sorted(_KNOWN))}; it has "
            f"{', '.join(map(str, content)) or 'nothing'}"
        )
    shape, times = content.get("shape"), content.get("echo_times_s")
    strength, b0 = content.get("field_strength_t"), content.get("b0_direction")
    return ScanFile(
        path,
        None if not times else tuple(_numbers(path, "echo_times_s", times)),
        None if strength is None else _numbers(path, "field_strength_t", [strength])[0],
        None if b0 is None else _vector(path, b0),
        None if shape is None else _shape(path, shape),
        {key: value for key, value in content.items() if key not in _KNOWN},
    )


def _numbers(path: Path, key: str, values: object) -> list[float]:
    if not isinstance(values, list) or any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
        raise InputError(f"{path}: {key} must be a list of numbers; got {shown(values)}")
    return [number_of(path, key, value) for value in values]


def _shape(path: Path, values: object) -> tuple[int, ...]:
    numbers = _numbers(path, "shape", values)
    if not all(n > 0 and n.is_integer() for n in numbers):
        raise InputError(f"{path}: shape must be whole numbers above zero; got {shown(values)}")
    return tuple(int(n) for n in numbers)


def _vector(path: Path, values: object) -> Vector:
    numbers = _numbers(path, "b0_direction", values)
    if len(numbers) != 3:
        raise InputError(f"{path}: b0_direction must be three numbers; got {shown(values)}")
    require_direction(f"{path}: b0_direction", numbers)
    return numbers[0], numbers[1], numbers[2]
