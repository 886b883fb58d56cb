"""Stages of one arm: raw data to lag sums, and lag sums or images to susceptibility as BIDS derivatives."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dlqsm.cohort.chain import account_of, examined, run_chain, run_uncertainty, sidecars_of, volumes_of
from dlqsm.cohort.chain_input import ChainInput, read_complex_images, read_images, read_recon
from dlqsm.cohort.plan import Arm, Plan, by_content
from dlqsm.cohort.records import Fingerprints, key_of
from dlqsm.core.methods import options_of
from dlqsm.core.realisations import ENOUGH_REALISATIONS
from dlqsm.io.derivatives import account_path, derivative_path, sidecar_of, uri, write_derivative
from dlqsm.io.images import AS_STORED
from dlqsm.io.maps import UNCERTAINTY_UNITS, rounded_realisations
from dlqsm.io.mdi_file import write_lag_sums
from dlqsm.io.nifti import read_volume, write_volume
from dlqsm.io.outputs import read_json, write_json
from dlqsm.io.raw import read_raw
from dlqsm.io.scan_json import ScanFile, write_scan
from dlqsm.io.sidecars import inherited_sidecar
from dlqsm.io.source_code import code_hash
from dlqsm.pipeline import QsmMaps
from dlqsm.reconstruction import RECONSTRUCTIONS
from dlqsm.reconstruction.reconstruct import ReconstructedImages, reconstruct

_LAGS, _SCAN, _PHASE = "mdi.h5", "scan.json", "phase.nii.gz"


def recon_folder(arm: Arm, plan: Plan) -> Path:
    """Folder of what a reconstruction leaves for the next stage."""
    return plan.work / arm.label / arm.name


def recon_key(arm: Arm, plan: Plan, prints: Fingerprints) -> str:
    """Key of the reconstruction of raw data."""
    assert arm.source.raw is not None
    assert arm.method is not None
    options = {name: option.default for name, option in options_of(RECONSTRUCTIONS[arm.method]).items()}
    options |= by_content(plan.reconstruction.get(arm.method, {}), prints.of)
    content = {"raw": prints.of(arm.source.raw), "method": arm.method, "options": options, "seed": plan.seed}
    return key_of("recon", content)


def qsm_key(arm: Arm, plan: Plan, prints: Fingerprints) -> str:
    """Key of the maps of an arm; it holds what was not asked for no more than an older version did."""
    content: dict[str, Any] = {"config": plan.config.resolved(), "entities": arm.entities, **phase_settings(plan)}
    if plan.uncertainty is not None:
        noise = {"realisations": plan.uncertainty, "seed": plan.seed, "code": code_hash(("pipeline/uncertainty.py",))}
        content["uncertainty"] = noise
    if arm.source.raw is not None:
        return key_of("qsm", {**content, "recon": recon_key(arm, plan, prints)})
    if plan.phase.bipolar:
        content["bipolar"] = True
    if arm.source.is_cartesian:
        content["cartesian"] = True
    if plan.phase.coils != AS_STORED.coils:
        content["coil_combination"] = plan.phase.coils
    images = [(prints.of(path), inherited_sidecar(path)) for path in arm.source.files]
    return key_of("qsm", {**content, "images": images, "phase_unit": plan.phase.unit})


def phase_settings(plan: Plan) -> dict[str, Any]:
    """What was asked for about the phase of images and raw data alike; empty where nothing was."""
    inverted: dict[str, Any] = {"invert_phase": True} if plan.phase.invert else {}
    return {**inverted, "accept_phase": sorted(plan.phase.accept)} if plan.phase.accept else inverted


def reconstruct_arm(arm: Arm, plan: Plan) -> list[Path]:
    """Reconstruct raw data, and keep what the maps and the page need: lag sums, scan, phase of the middle echo."""
    assert arm.source.raw is not None
    assert arm.method is not None
    raw, folder = read_raw(arm.source.raw), recon_folder(arm, plan)
    folder.mkdir(parents=True, exist_ok=True)
    images = reconstruct(
        raw,
        arm.method,
        plan.reconstruction.get(arm.method),
        seed=plan.seed,
        device=plan.device,
        scratch_folder=folder,
        slab_bytes=plan.slab_bytes,
    )
    grid, middle = raw.header.grid, images.images.shape[0] // 2
    write_lag_sums(folder / _LAGS, images.lag_sums, grid)
    write_volume(folder / _PHASE, images.images[middle].angle(), grid)
    write_scan(folder / _SCAN, raw.header.scan, _about_raw(arm, raw.header, images, middle))
    return [folder / name for name in (_LAGS, _PHASE, _SCAN)]


def _about_raw(arm: Arm, header: Any, images: ReconstructedImages, shown_echo: int) -> dict[str, Any]:
    return {
        "method": arm.method,
        "acceleration": header.acceleration,
        "repetition_time_s": header.repetition_time_s,
        "flip_angle_deg": header.flip_angle_deg,
        "phase_sign": "exp(+i 2 pi f TE): positive phase is a higher field",
        "missing": list(header.missing),
        "decisions": images.decisions,
        "shown_echo": shown_echo,
    }


def map_arm(arm: Arm, plan: Plan) -> list[Path]:
    """Make the maps of an arm, with sidecars and the account of all decisions; return the files."""
    source, phase_rad, told = _input(arm, plan)
    maps = run_chain(source, plan.config, torch.device(plan.device), lambda step, seconds: None)
    source = examined(maps, source, plan.phase.accept)
    for alarm in source.alarms:
        warnings.warn(f"arm {arm.name}: {alarm.level} {alarm.name}: {alarm.text}", stacklevel=2)
    sources = [uri(path, plan.out, plan.bids) for path in arm.source.files]
    account = account_of(maps, replace(source, sources={"files": sources}))
    account["scan"] = {**account["scan"], **told}
    written = _write_maps(arm, plan, maps, source, sources)
    written += _write_noise(arm, plan, maps, source, sources)
    written += _write_pictures(arm, plan, source, phase_rad, int(told["shown_echo"]), sources)
    path = account_path(plan.out, arm.label, arm.entities)
    write_json(path, account)
    return [*written, *(sidecar_of(image) for image in written), path]


def chosen_strength(arm: Arm, plan: Plan) -> float:
    """Strength [ppm] that the inversion of an arm chooses from its data."""
    maps = run_chain(_input(arm, plan)[0], plan.config, torch.device(plan.device), lambda step, seconds: None)
    return float(maps.summary["convergence"]["inversion"]["chosen"]["strength_ppm"])


def _input(arm: Arm, plan: Plan) -> tuple[ChainInput, torch.Tensor, dict[str, Any]]:
    """What the chain starts from, the phase of one echo [rad] for the page, and what is told of the scan."""
    if arm.source.raw is not None:
        folder, sign = recon_folder(arm, plan), -1.0 if plan.phase.invert else 1.0
        source = read_recon(folder, invert=plan.phase.invert)
        return source, sign * read_volume(folder / _PHASE)[0], dict(read_json(folder / _SCAN))
    nothing = ScanFile(Path("options"), None, None, None, None, {})
    images = (arm.source.magnitude, arm.source.phase)
    if arm.source.is_cartesian:
        # Their phase is an angle; a unit that is given is for the other arms.
        options = replace(plan.phase, unit=None)
        source, series = read_complex_images(*images, nothing, options, n_coils=arm.source.n_coils)
    else:
        source, series = read_images(*images, nothing, plan.phase, n_coils=arm.source.n_coils)
    middle = series.phase_rad.shape[0] // 2
    brightest = int(series.magnitude[middle].flatten(1).sum(1).argmax())  # of coils that are not combined
    return source, series.phase_rad[middle, brightest], {"shown_echo": middle}


def _write_maps(arm: Arm, plan: Plan, maps: QsmMaps, source: ChainInput, sources: list[str]) -> list[Path]:
    sidecars = sidecars_of(maps, source.scan, plan.config)
    written = []
    for kind, values in volumes_of(maps).items():
        path = derivative_path(plan.out, arm.label, arm.entities, kind)
        content = {**sidecars[kind], "Sources": sources}
        if arm.method is not None:
            content["Reconstruction"] = arm.method
        written.append(write_derivative(path, values, source.scan.grid, kind, content))
    return written


def _write_noise(arm: Arm, plan: Plan, maps: QsmMaps, source: ChainInput, sources: list[str]) -> list[Path]:
    """Noise of the susceptibility where it is asked for; else what an earlier run left of it goes."""
    paths = {kind: derivative_path(plan.out, arm.label, arm.entities, kind) for kind in UNCERTAINTY_UNITS}
    if plan.uncertainty is None:
        for path in paths.values():
            path.unlink(missing_ok=True)
            sidecar_of(path).unlink(missing_ok=True)
        return []
    n, device = plan.uncertainty, torch.device(plan.device)
    noise = run_uncertainty(source, maps, plan.config, device, n_realisations=n, seed=plan.seed)
    volumes = {
        "Chimap_desc-noise": noise.sd_ppm,
        "Chimap_desc-realisations": rounded_realisations(noise.errors_ppm),
    }
    content = {"Sources": sources, "Realisations": n, "Seed": plan.seed, "Pooled": n < ENOUGH_REALISATIONS}
    return [write_derivative(paths[k], values, source.scan.grid, k, content) for k, values in volumes.items()]


def _write_pictures(
    arm: Arm, plan: Plan, source: ChainInput, phase_rad: torch.Tensor, shown_echo: int, sources: list[str]
) -> list[Path]:
    """Magnitude combined over echoes, which registration needs, and the phase of one echo, which the page shows."""
    scan, common = source.scan, {"Sources": sources, "MagneticFieldStrength": source.scan.field_strength_t}
    magnitude = derivative_path(plan.out, arm.label, arm.entities, "magnitude")
    phase = derivative_path(plan.out, arm.label, arm.entities, "phase", echo=str(shown_echo + 1))
    combined = source.sums.power.sum(0).sqrt()
    _remove_other_echoes(phase, f"_echo-{shown_echo + 1}_")
    return [
        write_derivative(magnitude, combined, scan.grid, "magnitude", {**common, "EchoTime": list(scan.echo_times_s)}),
        write_derivative(phase, phase_rad, scan.grid, "phase", {**common, "EchoTime": scan.echo_times_s[shown_echo]}),
    ]


def _remove_other_echoes(phase: Path, echo: str) -> None:
    """Remove the phase of another echo of the arm, which an earlier run of other echoes showed."""
    start, end = phase.name.split(echo)
    for path in phase.parent.glob(f"{start}_echo-*_{end}"):
        number = path.name.removeprefix(f"{start}_echo-").removesuffix(f"_{end}")
        if number.isdigit() and path != phase:
            path.unlink()
            sidecar_of(path).unlink(missing_ok=True)
