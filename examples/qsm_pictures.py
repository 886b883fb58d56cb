"""Two real scans by the former and the present default: pictures from wrapped phase to susceptibility.

    DLQSM_SHARED_DATA=FOLDER python examples/qsm_pictures.py [OUT [NAME ...]]

FOLDER holds ``philips_dual_echo/nifti`` (a head at 3 mm, two echoes) and ``romeo_three_echo`` (a crop with veins, three
echoes); OUT (default: docs) gets qsm_philips.png and qsm_romeo.png, or those named. No truth is known of either: one
can only look.
"""

# %%
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from dlqsm.config import QsmConfig, Step
from dlqsm.io.images import EchoSeries, read_echo_series
from dlqsm.pipeline.susceptibility import QsmMaps, map_susceptibility, sums_of_images
from dlqsm.report.planes import MARKS, PLANES, Image, cut, pixel_size_mm, squared, view_of

BEFORE = QsmConfig(background=Step("vsharp"), inversion=Step("l1", {"strength": 2e-4, "smooth_length_mm": 0.0}))
AFTER = QsmConfig()
CHI_RANGE_PPM = (-0.1, 0.2)


@dataclass(frozen=True)
class Real:
    """One real scan: where it is, what its headers leave open, and where to look."""

    folder: str
    phase: str
    magnitude_of: tuple[str, str]
    title: str
    source: str
    local_range_ppm: float
    offset_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    phase_unit: str | None = None
    echo_times_s: tuple[float, ...] | None = None
    field_strength_t: float | None = None


SCANS = {
    "qsm_philips.png": Real(
        folder="philips_dual_echo/nifti",
        phase="*_ph.nii.gz",
        magnitude_of=("_ph", ""),
        title="Head at 3 T, 3 mm, echoes at 2.3 and 4.6 ms",
        source="Data: dcm_qa_philips_enh, Copyright (c) 2021 Chris Rorden, BSD 2-Clause License",
        local_range_ppm=0.1,
    ),
    "qsm_romeo.png": Real(
        folder="romeo_three_echo",
        phase="Phase.nii.gz",
        magnitude_of=("Phase", "Mag"),
        title="Crop with veins, 0.47 x 0.47 x 1 mm, echoes at 4, 8 and 12 ms; field strength not told, taken as 7 T",
        source="Data: ROMEO.jl, Copyright (c) 2019 Korbinian Eckstein, Barbara Dymerska, MIT License",
        local_range_ppm=0.05,
        offset_mm=(9.0, -3.0, 6.0),
        phase_unit="range:-0.003674:0.003674",
        echo_times_s=(0.004, 0.008, 0.012),
        field_strength_t=7.0,
    ),
}


# %%
def read(shared: Path, real: Real) -> EchoSeries:
    """Magnitude and phase of all echoes."""
    phase = sorted((shared / real.folder).glob(real.phase))
    if not phase:
        raise SystemExit(f"{shared / real.folder}: there are no phase images ({real.phase}) here")
    return read_echo_series(
        [path.with_name(path.name.replace(*real.magnitude_of)) for path in phase],
        phase,
        phase_unit=real.phase_unit,
        echo_times_s=real.echo_times_s,
        field_strength_t=real.field_strength_t,
        b0_direction=None,
    )


def draw(real: Real, series: EchoSeries, before: QsmMaps, after: QsmMaps) -> Figure:
    """A row a plane: last echo's phase, total field, and local field and susceptibility by both chains."""
    grid, hz_per_ppm = series.scan.grid, series.scan.hz_per_ppm
    columns = {
        "wrapped phase, last echo [rad]": (series.phase_rad[-1, 0], after.mask, (-np.pi, np.pi)),
        "total field [ppm]": (after.total_field_hz / hz_per_ppm, after.mask, None),
        "local field before [ppm]": (before.local_field_hz / hz_per_ppm, before.eroded_mask, real.local_range_ppm),
        "local field now [ppm]": (after.local_field_hz / hz_per_ppm, after.eroded_mask, real.local_range_ppm),
        "susceptibility before [ppm]": (before.chi_ppm, before.eroded_mask, CHI_RANGE_PPM),
        "susceptibility now [ppm]": (after.chi_ppm, after.eroded_mask, CHI_RANGE_PPM),
    }
    view = squared(view_of(after.mask, grid, margin_mm=0.0))
    figure = Figure(figsize=(15, 8.2), layout="constrained")
    axes = figure.subplots(len(PLANES), len(columns), squeeze=False)
    for column, (title, (volume, where, limits)) in enumerate(columns.items()):
        low, high = _limits(volume[where], limits)
        masked = torch.where(where, volume, torch.nan)
        for axis, plane, offset in zip(axes[:, column], PLANES, real.offset_mm, strict=True):
            image = cut(masked, grid, view, plane, offset_mm=offset)
            shown = _show(axis, image, plane, pixel_size_mm(grid, plane), (low, high))
        axes[0, column].set_title(title, fontsize=10)
        figure.colorbar(
            shown,
            ax=axes[:, column],
            location="bottom",
            shrink=0.85,
            aspect=16,
            ticks=np.linspace(low, high, 3),
            format="%.2f",
        )
    figure.suptitle(real.title, fontsize=12)
    figure.supxlabel(real.source, fontsize=8)
    return figure


def _limits(values: torch.Tensor, limits: object) -> tuple[float, float]:
    """Ends of the grey scale: as given, symmetric about zero, or the middle 98 %."""
    if isinstance(limits, tuple):
        return limits
    if isinstance(limits, float):
        return -limits, limits
    low, high = np.percentile(values.numpy(), (1, 99))
    return float(low), float(high)


def _show(
    axis: Axes, image: Image, plane: str, pixel_mm: tuple[float, float], limits: tuple[float, float]
) -> AxesImage:
    """One plane as radiologists look at it, its voxels in true proportion."""
    aspect = pixel_mm[1] / pixel_mm[0]
    axis.set(xticks=(), yticks=(), facecolor="black")
    for place, mark, side in zip((0.03, 0.97), MARKS[plane], ("left", "right"), strict=True):
        axis.text(place, 0.96, mark, transform=axis.transAxes, color="white", fontsize=8, ha=side, va="top")
    return axis.imshow(image, cmap="gray", vmin=limits[0], vmax=limits[1], aspect=aspect, interpolation="none")


# %%
def main() -> None:
    """Draw the scans."""
    shared, out = os.environ.get("DLQSM_SHARED_DATA", ""), Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    if not shared or not Path(shared).is_dir():
        raise SystemExit("DLQSM_SHARED_DATA names no folder; set it to the folder that holds the real scans")
    for name in sys.argv[2:] or SCANS:
        real = SCANS[name]
        series = read(Path(shared), real)
        sums = sums_of_images(series.magnitude, series.phase_rad)
        before, after = (map_susceptibility(sums, series.scan, config) for config in (BEFORE, AFTER))
        out.mkdir(parents=True, exist_ok=True)
        draw(real, series, before, after).savefig(out / name, dpi=75)
        kept = [int(maps.eroded_mask.sum()) for maps in (before, after)]
        chosen = after.summary["convergence"]["inversion"].get("chosen", {})
        print(f"{out / name}: {kept[0]} voxels before, {kept[1]} now; {chosen}")


if __name__ == "__main__":
    main()
