"""The whole line at AF 5 against the fully sampled reconstruction of the same scan: nuclei, slope, edges, chi.

Each held-out head is scanned once, fully and with noise, without motion; lines are left out afterwards. Reference is
the map of the same samples, all of them; the control is the map of a second fully sampled scan that differs by noise
alone. Means of nuclei are by true labels, both maps without their mean in the eroded mask (`acceptance.judge`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from acceptance import PAPER_CHAIN, Judged, judge
from reconstruction_heads import CONDITIONS, FIRST_SEED, noise_source, noisy_raw, scan_head
from reconstruction_judging import border, gradient, slope
from reconstruction_methods import fingerprint, is_wanted
from reconstruction_rows import Rows

from dlqsm.acquisition.sampling import poisson
from dlqsm.acquisition.virtual_scan import CleanScan
from dlqsm.core.anatomy import Anatomy
from dlqsm.core.labels import NUCLEI
from dlqsm.core.raw import RawData, undersample
from dlqsm.pipeline import QsmMaps, map_susceptibility
from dlqsm.reconstruction.learned.weights import weights_file
from dlqsm.reconstruction.reconstruct import reconstruct

ACCELERATION = 5.0
CONTROL, WHOLE = "control: fully sampled, other noise", "fully sampled"
LINE_KEYS = ("condition", "head", "mask", "af", "method", "weights")
LINE_MEASURES = (
    *(f"change_{roi}_ppb" for roi in NUCLEI),
    "mean_abs_change_ppb",
    "worst_change_ppb",
    "slope",
    "rmse_change_ppb",
    *(f"error_{roi}_ppb" for roi in NUCLEI),
    "mean_abs_error_ppb",
    "rmse_ppb",
    "field_hz",
    "edge_chi",
    "recon_wall_s",
    "recon_cpu_s",
)
"""``change``: against the fully sampled map of the same scan; ``error``: against the truth. ``slope``: of the nuclei's
means on those of the fully sampled map. ``edge_chi``: slope of the gradient of chi on that of the true chi, at the true
borders of the nuclei, over the same slope of the fully sampled map; without bias by noise, since the truth has none."""
CLASSICAL = {
    "zero": ("zero", {}),
    "sense": ("sense", {}),
    "cs, default": ("cs", {}),
    "cs wavelet, 0.35": ("cs", {"strength": 0.35}),
    "cs wavelet+llr, 0.35": ("cs", {"prior": "wavelet+llr", "strength": 0.35}),
}


def measure_line(
    rows: Rows,
    anatomy: Anatomy,
    condition: str,
    head: int,
    n_masks: int,
    weights: dict[str, str | None],
    patterns: Sequence[str] | None,
) -> None:
    """Rows of one head: the fully sampled map, the control, and every method under every mask."""
    methods = {name: each for name, each in _methods(weights).items() if is_wanted(name, patterns)}
    common = {"condition": condition, "head": head}
    missing = [
        (mask, name)
        for mask in range(n_masks)
        for name in methods
        if rows.find(common | _case(mask, name, methods[name])) is None
    ]
    if not missing and rows.find(common | _case("", CONTROL, None)) is not None:
        return
    protocol = CONDITIONS[condition]
    scan = scan_head(anatomy, head, condition)
    raw = noisy_raw(scan, noise_source(head))
    whole = _Mapped(raw, "sense", {}, scan)
    for name, found in ((WHOLE, whole), (CONTROL, None)):
        key = common | _case("", name, None)
        if rows.find(key) is None:
            mapped = found or _Mapped(noisy_raw(scan, noise_source(head, 2)), "sense", {}, scan)
            _tell(rows, key, mapped, whole)
    for mask, name in missing:
        sampling = poisson(protocol.shape[1:], ACCELERATION, FIRST_SEED + mask)
        some = undersample(raw, sampling.mask, sampling.calibration)
        method, options = methods[name]
        _tell(rows, common | _case(mask, name, methods[name]), _Mapped(some, method, options, scan), whole)


def _methods(weights: dict[str, str | None]) -> dict[str, tuple[str, dict[str, object]]]:
    found: dict[str, tuple[str, dict[str, object]]] = dict(CLASSICAL)
    for name, file in weights.items():
        for label, consistency in ((name, "soft"), (f"{name}, exact", "exact")):
            found[label] = (name, {"weights": file, "consistency": consistency})
    return found


def _case(mask: int | str, name: str, how: tuple[str, dict[str, object]] | None) -> dict[str, object]:
    sha = ""
    if how is not None and "weights" in how[1]:
        file = how[1]["weights"]
        sha = fingerprint(weights_file(how[0], None if file is None else str(file)))
    af = "1" if mask == "" else f"{ACCELERATION:g}"
    return {"mask": mask, "af": af, "method": name, "weights": sha}


class _Mapped:
    """A map of raw data by the paper's chain, judged, and what its reconstruction took."""

    maps: QsmMaps
    judged: Judged

    def __init__(self, raw: RawData, method: str, options: dict[str, object], scan: CleanScan) -> None:
        self.truth = scan.truth
        wall, cpu = time.perf_counter(), time.process_time()
        images = reconstruct(raw, method, options)
        self.wall_s, self.cpu_s = time.perf_counter() - wall, time.process_time() - cpu
        self.maps = map_susceptibility(images.lag_sums, raw.header.scan, PAPER_CHAIN)
        self.judged = judge(self.maps, self.truth)

    def chi_ppb(self, mask: torch.Tensor) -> torch.Tensor:
        """Susceptibility [ppb] without its mean in a mask."""
        return 1e3 * (self.maps.chi_ppm - self.maps.chi_ppm[mask].mean())


def _tell(rows: Rows, key: dict[str, object], found: _Mapped, whole: _Mapped) -> None:
    mask = found.maps.eroded_mask & whole.maps.eroded_mask & found.truth.mask
    chi, reference = found.chi_ppb(mask), whole.chi_ppb(mask)
    means, expected = (np.array([each.judged.means_ppb[roi] for roi in NUCLEI]) for each in (found, whole))
    at, true_edges = border(found.truth.labels) & mask, gradient(found.truth.chi_ppm)
    change = means - expected
    row = rows.add(
        key,
        {
            **{f"change_{roi}_ppb": float(value) for roi, value in zip(NUCLEI, change, strict=True)},
            "mean_abs_change_ppb": float(np.abs(change).mean()),
            "worst_change_ppb": float(np.abs(change).max()),
            "slope": float(np.polyfit(expected, means, 1)[0]),
            "rmse_change_ppb": float((chi - reference)[mask].square().mean().sqrt()),
            **{f"error_{roi}_ppb": found.judged.errors_ppb[roi] for roi in NUCLEI},
            "mean_abs_error_ppb": found.judged.mean_abs,
            "rmse_ppb": found.judged.rmse_ppb,
            "field_hz": found.judged.field_rmse_hz,
            "edge_chi": slope(gradient(chi), true_edges, at) / slope(gradient(reference), true_edges, at),
            "recon_wall_s": found.wall_s,
            "recon_cpu_s": found.cpu_s,
        },
    )
    told = " ".join(f"{name} {row[name]}" for name in ("mean_abs_change_ppb", "worst_change_ppb", "slope", "edge_chi"))
    print(f"line head {row['head']} mask {row['mask']} {row['method']}: {told}", flush=True)
