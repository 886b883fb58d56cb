"""The reporting checklist of the QSM consensus, filled with what is known of a scan.

References
----------
QSM Consensus Organization Committee, Magn Reson Med 91:1834 (2024), doi:10.1002/mrm.30006, tables 3 to 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from dlqsm.core.scan import Grid
from dlqsm.core.units import PPB_PER_PPM, S_PER_MS
from dlqsm.report.methods_text import parameters_text, value_text
from dlqsm.report.summary import Known, counts_text, methods_of, scan_of, scan_time_s


@dataclass(frozen=True)
class Item:
    """One line of the checklist; ``value`` is None where nothing is known."""

    table: str
    name: str
    value: str | None


class Described(Protocol):
    """An arm whose making is known: `report.participant.ArmMaps`, or its `Account` alone."""

    @property
    def summary(self) -> Known:
        """As in `report.participant.ArmMaps`."""

    @property
    def grid(self) -> Grid | None:
        """Grid of the maps; None where unknown."""

    @property
    def acceleration(self) -> float | None:
        """Net acceleration factor; None where unknown."""


@dataclass(frozen=True)
class Account:
    """What is known of the making of an arm, without its maps."""

    summary: Known
    grid: Grid | None = None
    acceleration: float | None = None


Look = Callable[[Described, Known], str | None]


def consensus_checklist(arm: Described, software: Mapping[str, str]) -> list[Item]:
    """Tables 3 (hardware), 4 (sequence) and 5 (processing) for one arm."""
    scan = scan_of(arm.summary)
    items = [Item(table, name, look(arm, scan)) for table, name, look in _ITEMS]
    toolbox = ", ".join(f"{name} {version}" for name, version in software.items()) or None
    steps = [Item(_T5, label, _step(arm, step)) for step, label in _STEPS]
    mask = arm.summary.get("mask")
    masking = Item(_T5, "Masking", _masking(mask) if mask else None)
    return [
        *items,
        Item(_T5, "Toolbox and version", toolbox),
        *steps,
        masking,
        Item(_T5, "Further processing", _further(arm)),
        Item(_T5, "Unit of susceptibility", "ppm in maps, ppb in tables of nuclei"),
        Item(_T5, "Reference region", _references(arm)),
    ]


def account_checklist(summary: Known, software: Mapping[str, str]) -> list[Item]:
    """The same of an arm whose account alone is known, ``scan`` of which tells ``shape`` and ``voxel_size_mm``."""
    told = scan_of(summary)
    shape, voxel_mm = told.get("shape"), told.get("voxel_size_mm")
    grid = Grid(tuple(shape), tuple(voxel_mm)) if shape and voxel_mm else None
    factor = told.get("acceleration")
    known = float(factor) if isinstance(factor, int | float) else None
    return consensus_checklist(Account(summary, grid, known), software)


def _masking(mask: Known) -> str:
    counts = {key: value for key, value in mask.items() if key != "source"}
    brain = _MASKS.get(str(mask.get("source")), "a brain mask")
    return f"{brain}, less voxels of low phase quality; {counts_text(counts)}"


def echo_times_text(scan: Known) -> str | None:
    """Number of echoes and TE1 : spacing : TEmax."""
    times = scan.get("echo_times_s")
    if not times:
        return None
    first, last = times[0] / S_PER_MS, times[-1] / S_PER_MS
    if len(times) == 1:
        return f"1 echo, {first:.4g} ms"
    return f"{len(times)} echoes, {first:.4g} : {(times[1] - times[0]) / S_PER_MS:.4g} : {last:.4g} ms"


def voxel_text(grid: Grid) -> str:
    """Voxel edges along the array axes."""
    return " × ".join(f"{v:.4g}" for v in grid.voxel_size_mm) + " mm"


def matrix_text(grid: Grid) -> str:
    """Matrix along the array axes."""
    return " × ".join(map(str, grid.shape))


def _plain(key: str, unit: str = "") -> Look:
    def look(arm: Described, scan: Known) -> str | None:
        del arm
        value = scan.get(key)
        return None if value in (None, "", []) else f"{value_text(value)} {unit}".strip()

    return look


def _field_of_view(arm: Described, scan: Known) -> str | None:
    del scan
    if arm.grid is None:
        return None
    edges = (n * v for n, v in zip(arm.grid.shape, arm.grid.voxel_size_mm, strict=True))
    return " × ".join(f"{edge:.4g}" for edge in edges) + f" mm, matrix {matrix_text(arm.grid)}"


def _acceleration(arm: Described, scan: Known) -> str | None:
    if arm.acceleration is None:
        return None
    kind = scan.get("sampling")
    return f"net factor {arm.acceleration:.4g}" + (f", {value_text(kind)} sampling" if kind else "")


def _of_raw_data(key: str, implied: str) -> Look:
    """What the sidecar tells; else what raw data imply, of which no other kind can be reconstructed."""
    told = _plain(key)

    def look(arm: Described, scan: Known) -> str | None:
        return told(arm, scan) or (implied if scan.get("n_lines") else None)

    return look


def _repetition(arm: Described, scan: Known) -> str | None:
    del arm
    seconds = scan.get("repetition_time_s")
    return None if seconds is None else f"{seconds / S_PER_MS:.4g} ms"


def _scan_time(arm: Described) -> str | None:
    seconds = scan_time_s(arm.summary)
    return None if seconds is None else f"{seconds:.0f} s"


def _step(arm: Described, step: str) -> str | None:
    content = methods_of(arm.summary).get(step)
    if not content:
        return None
    if isinstance(content, Mapping) and "method" in content:
        written = parameters_text(content.get("parameters", {}))
        return f"{content['method']}" + (f" ({written})" if written else "")
    return value_text(content)


def _further(arm: Described) -> str | None:
    """Steps of the chain that no line of the table has a name for."""
    named = {step for step, _ in _STEPS} | {"mask", "reference", "sampling"}
    others = [step for step in methods_of(arm.summary) if step not in named]
    parts = [f"{step.replace('_', ' ')}: {_step(arm, step)}" for step in others if _step(arm, step)]
    return "; ".join(parts) or None


def _references(arm: Described) -> str | None:
    """The chosen region, and mean and SD of every region before referencing."""
    chosen = arm.summary.get("methods", {}).get("reference")
    values = [
        f"{region['name']} {_in_ppb(region['mean_ppm']):+.1f} ± {_in_ppb(region['sd_ppm']):.1f} ppb "
        f"({region['n_voxels']} voxels)".replace("-", "−")
        for region in arm.summary.get("references", [])
        if {"name", "mean_ppm", "sd_ppm", "n_voxels"} <= set(region)
    ]
    parts = [f"{chosen}"] if chosen else []
    parts += [f"before referencing: {'; '.join(values)}"] if values else []
    return "; ".join(parts) or None


def _in_ppb(value_ppm: float) -> float:
    return PPB_PER_PPM * value_ppm


_MASKS: Final[Mapping[str, str]] = {
    "given": "a brain mask that was given",
    "magnitude": "brain by a surface grown in the magnitude",
}
"""Where the brain mask of an account came from; one of an older version does not tell."""
_T3: Final = "Hardware (table 3)"
_T4: Final = "Sequence (table 4)"
_T5: Final = "Processing (table 5)"
_ITEMS: Final[tuple[tuple[str, str, Look], ...]] = (
    (_T3, "Field strength", _plain("field_strength_t", "T")),
    (_T3, "Vendor", _plain("vendor")),
    (_T3, "Model", _plain("model")),
    (_T3, "Scanner software", _plain("scanner_software")),
    (_T3, "Gradient system", _plain("gradient_system")),
    (_T3, "Receive coil", _plain("receive_coil")),
    (_T3, "Receive channels", _plain("n_coils")),
    (_T4, "Sequence", _of_raw_data("sequence", "multi-echo gradient echo, Cartesian")),
    (_T4, "2-D or 3-D", _of_raw_data("acquisition_type", "3-D")),
    (_T4, "Echoes, TE1 : spacing : TEmax", lambda arm, scan: echo_times_text(scan)),
    (_T4, "Repetition time", _repetition),
    (_T4, "Flip angle", _plain("flip_angle_deg", "degrees")),
    (_T4, "Readout bandwidth", _plain("bandwidth_hz", "Hz")),
    (_T4, "Field of view and matrix", _field_of_view),
    (_T4, "Voxel size", lambda arm, scan: None if arm.grid is None else voxel_text(arm.grid)),
    (_T4, "Readout polarity", _plain("readout_polarity")),
    (_T4, "Centre frequency", _plain("centre_frequency_hz", "Hz")),
    (_T4, "Flow compensation", _plain("flow_compensation")),
    (_T4, "Acceleration", _acceleration),
    (_T4, "Partial Fourier", _plain("partial_fourier")),
    (_T4, "Elliptical shutter", _plain("elliptical_shutter")),
    (_T4, "Phase stabilisation", _plain("phase_stabilisation")),
    (_T4, "Scan time", lambda arm, scan: _scan_time(arm)),
)
_STEPS: Final = (
    ("reconstruction", "Phase reconstruction and coil combination"),
    ("field", "Echo combination"),
    ("unwrap", "Phase unwrapping"),
    ("background", "Background field removal"),
    ("inversion", "Dipole inversion"),
)
