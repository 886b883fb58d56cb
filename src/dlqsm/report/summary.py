"""One reading of an arm's summary: what ``scan.json`` and ``qsm.json`` tell, put together for tables and text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dlqsm.core.scan import direction_text
from dlqsm.core.units import PPB_PER_PPM
from dlqsm.report.methods_text import value_text

Known = Mapping[str, Any]
_FROM_BIDS: Final = {
    "EchoTime": "echo_times_s",
    "MagneticFieldStrength": "field_strength_t",
    "B0_dir": "b0_direction",
    "RepetitionTimeExcitation": "repetition_time_s",
    "FlipAngle": "flip_angle_deg",
    "Manufacturer": "vendor",
    "ManufacturersModelName": "model",
    "SoftwareVersions": "scanner_software",
    "PixelBandwidth": "bandwidth_hz",
    "PartialFourier": "partial_fourier",
    "MRAcquisitionType": "acquisition_type",
    "PulseSequenceType": "sequence",
    "ReceiveCoilName": "receive_coil",
    "GradientSetType": "gradient_system",
}
"""Keys of a BIDS sidecar, and ours with the same meaning and unit."""
_FROM_RECONSTRUCTION: Final = (
    "n_coils", "n_lines", "acceleration", "sampling", "partial_fourier", "elliptical_shutter",
)  # fmt: skip
"""What raw data tell of the scan, among what their reconstruction decided."""
_TOLD_ELSEWHERE: Final = {"method", "options", "seconds", "missing", *_FROM_RECONSTRUCTION} - {"n_coils", "n_lines"}


def scan_of(summary: Known) -> dict[str, Any]:
    """What is known of the scan; numbers that the reconstruction found (channels, lines) among them."""
    told, found = summary.get("scan") or {}, _reconstruction(summary)
    scan = {_FROM_BIDS.get(key, key): value for key, value in told.items()}
    lifted = {key: found[key] for key in _FROM_RECONSTRUCTION if key in found}
    return {**lifted, **scan}


def scan_time_s(summary: Known) -> float | None:
    """Scan time [s] as told, else phase-encoding lines x repetition time; None where unknown."""
    scan = scan_of(summary)
    if scan.get("scan_time_s") is not None:
        return float(scan["scan_time_s"])
    if scan.get("n_lines") and scan.get("repetition_time_s"):
        return float(scan["n_lines"]) * float(scan["repetition_time_s"])
    return None


def methods_of(summary: Known) -> dict[str, Any]:
    """Step to its method and parameters, the reconstruction's among them."""
    methods, found = dict(summary.get("methods") or {}), _reconstruction(summary)
    kind = scan_of(summary).get("sampling")
    if kind and "sampling" not in methods:
        methods["sampling"] = kind
    if "method" in found and "reconstruction" not in methods:
        parameters = dict(found.get("options", {}))
        if isinstance(found.get("network"), Mapping):
            parameters["weights"] = _weights(found["network"])
        methods["reconstruction"] = {"method": found["method"], "parameters": parameters}
    return methods


def _weights(network: Known) -> str:
    """Which network it was: without a choice of the user the record holds no name, but the hash of what ran."""
    whose = "shipped with dlqsm" if network.get("shipped") else "given"
    return f"{whose}, SHA-256 {str(network.get('sha256', 'not told'))[:12]}"


def seconds_of(summary: Known) -> dict[str, float]:
    """Step to seconds, reconstruction first."""
    found = _reconstruction(summary).get("seconds") or {}
    steps = {f"reconstruction: {step}": value for step, value in found.items()}
    return {key: float(value) for key, value in {**steps, **(summary.get("seconds") or {})}.items()}


def decisions_of(summary: Known) -> dict[str, str]:
    """All that was decided, as words: the chain's, the reconstruction's, mask counts and reference values."""
    scan = scan_of(summary)
    words = {str(key): value_text(value) for key, value in (summary.get("decisions") or {}).items()}
    if "b0_direction" not in words and scan.get("b0_direction"):
        words["b0_direction"] = direction_text(scan["b0_direction"])
    for key, value in _reconstruction(summary).items():
        if key not in _TOLD_ELSEWHERE:
            words.setdefault(f"reconstruction: {key.removeprefix('n_')}", value_text(value))
    if summary.get("mask"):
        words["mask voxels"] = counts_text(summary["mask"])
    for region in summary.get("references") or []:
        mean, sd = PPB_PER_PPM * region["mean_ppm"], PPB_PER_PPM * region["sd_ppm"]
        words[f"{region['name']} mean before referencing"] = (
            f"{mean:+.1f} ± {sd:.1f} ppb, {region['n_voxels']} voxels".replace("-", "−")
        )
    if scan.get("missing"):
        words["missing in the raw data"] = value_text(scan["missing"])
    return words


def poles_of(summary: Known) -> str | None:
    """Counts of phase poles, echo by echo where the account tells them so; None where it counts none."""
    trust = summary.get("phase_trust")
    found = summary.get("phase_poles", trust.get("poles") if isinstance(trust, Mapping) else None)
    counts = found.get("n_poles") if isinstance(found, Mapping) else found
    return None if counts is None else value_text(counts)


def counts_text(mask: Known) -> str:
    """Counts such as ``n_low_quality``, and where the mask came from, as words."""
    return ", ".join(f"{key.removeprefix('n_').replace('_', ' ')} {value_text(value)}" for key, value in mask.items())


def _reconstruction(summary: Known) -> dict[str, Any]:
    """What the reconstruction wrote into ``scan.json``."""
    found = (summary.get("scan") or {}).get("decisions")
    return dict(found) if isinstance(found, Mapping) else {}
