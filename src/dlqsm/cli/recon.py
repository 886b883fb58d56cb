"""Reconstruct raw k-space (ISMRMRD): magnitude and phase of each echo, and the lag sums for the field map.

Writes magnitude.nii.gz and phase.nii.gz (x, y, z, echo; rad), mdi.h5 and scan.json; field_uncertainty.nii.gz (Hz) where
it is asked for. Echo times and field strength are
not needed here; what the raw file lacks is said in scan.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch

from dlqsm.cli.arguments import add_memory_argument, add_method_options, method_options, path, peek, positive, seed
from dlqsm.cli.console import Talk, peak_memory_mb, start
from dlqsm.cli.memory import room_bytes, state_memory
from dlqsm.core.checks import InputError, require_choice
from dlqsm.core.methods import options_of
from dlqsm.core.raw import RawData
from dlqsm.io.mdi_file import write_lag_sums
from dlqsm.io.nifti import write_volume
from dlqsm.io.outputs import whole_folder, write_json
from dlqsm.io.raw import read_raw
from dlqsm.io.scan_json import write_scan
from dlqsm.io.steady import require_unchanged, stamps_of
from dlqsm.pipeline.memory import recon_need
from dlqsm.reconstruction import COILS_APART, RECONSTRUCTIONS
from dlqsm.reconstruction.hybrid import HYBRID_BYTES
from dlqsm.reconstruction.reconstruct import ReconstructedImages, reconstruct, require_uncertainty
from dlqsm.reconstruction.slabs import SLAB_BYTES

SUMMARY = "scan.json"
_ON_REQUEST = tuple(
    f"{stem}.{ending}"
    for stem in ("magnitude_uncombined", "phase_uncombined", "field_uncertainty")
    for ending in ("nii.gz", "json")
)
"""Files of an earlier reconstruction that go where this one has none."""


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments."""
    method = peek(words, "--method", "sense")
    require_choice("reconstruction method", method, RECONSTRUCTIONS)
    parser.add_argument("raw", type=path, metavar="RAW.h5", help="ISMRMRD file, 3-D Cartesian")
    parser.add_argument("out", type=path, metavar="OUT_DIR")
    parser.add_argument("--method", choices=tuple(RECONSTRUCTIONS), default="sense", help="(default: sense)")
    parser.add_argument(
        "--virtual-coils", type=positive(int), metavar="N", help="coils after compression (default: at most 12)"
    )
    parser.add_argument("--uncombined", action="store_true", help="write the image of each coil too")
    parser.add_argument(
        "--uncertainty", action="store_true", help="write the uncertainty of the field [Hz] too (cs and joint)"
    )
    parser.add_argument("--seed", type=seed, default=0, help="of the noise replica (default: 0)")
    add_memory_argument(parser)
    add_method_options(parser, options_of(RECONSTRUCTIONS[method]), title=f"options of {method}")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    talk, device = start(arguments)
    options = method_options(arguments, options_of(RECONSTRUCTIONS[arguments.method]))
    if arguments.uncombined:
        _require_coils_apart(arguments.method, options)
    stamps = stamps_of(arguments.raw)
    raw = read_raw(arguments.raw)
    if arguments.uncertainty:
        require_uncertainty(arguments.method, raw.header)
    coils = arguments.virtual_coils
    more = {"virtual_coils": coils, "uncombined": arguments.uncombined, "device_type": device.type}
    need = recon_need(raw.header, arguments.method, options, granted_bytes=room_bytes(arguments), **more)
    state_memory(arguments, talk, need.planned_bytes, "give more with --mem, or fewer --virtual-coils")
    talk.say(f"  {need.slabs}")
    place = whole_folder(arguments.out, overwrite=arguments.overwrite, produces=(SUMMARY,), replaces=_ON_REQUEST)
    with place as folder:
        images = reconstruct_raw(
            raw,
            arguments.method,
            options,
            talk,
            device,
            virtual_coils=coils,
            seed=arguments.seed,
            uncombined=arguments.uncombined,
            uncertainty=arguments.uncertainty,
            slab_bytes=need.slab_bytes,
            hybrid_bytes=need.hybrid_bytes,
        )
        save_images(folder, raw, arguments.method, images)
        require_unchanged(stamps)
    talk.say(f"{arguments.method}: net acceleration {raw.header.acceleration:.3f}, in {arguments.out}")
    return 0


def _require_coils_apart(method: str, options: Mapping[str, object]) -> None:
    needed = COILS_APART.get(method)
    if needed is None or any(options.get(name) != value for name, value in needed.items()):
        ways = ", ".join(
            " ".join([f"--method {name}", *(f"--{option} {value}" for option, value in asked.items())])
            for name, asked in COILS_APART.items()
            if name in RECONSTRUCTIONS
        )
        raise InputError(f"{method} makes one image of all coils; --uncombined goes with one of: {ways}")


def reconstruct_raw(
    raw: RawData,
    method: str,
    options: dict[str, object],
    talk: Talk,
    device: torch.device,
    *,
    virtual_coils: int | None = None,
    seed: int = 0,
    uncombined: bool = False,
    uncertainty: bool = False,
    slab_bytes: int = SLAB_BYTES,
    hybrid_bytes: int = HYBRID_BYTES,
) -> ReconstructedImages:
    """Reconstruct with progress shown, and say what the raw data lacked."""
    for sentence in raw.header.missing:
        talk.say(f"  note: {sentence}")
    with talk.working(f"recon {method}") as advance:
        return reconstruct(
            raw,
            method,
            options,
            virtual_coils=virtual_coils,
            seed=seed,
            uncombined=uncombined,
            uncertainty=uncertainty,
            progress=advance,
            device=device,
            slab_bytes=slab_bytes,
            hybrid_bytes=hybrid_bytes,
        )


def save_images(folder: Path, raw: RawData, method: str, images: ReconstructedImages) -> None:
    """Write the files of ``dlqsm recon``; scan.json last, so that its presence says the folder is complete."""
    grid = raw.header.grid
    values = torch.movedim(images.images, 0, -1).cpu()
    write_volume(folder / "magnitude.nii.gz", values.abs(), grid)
    write_json(folder / "magnitude.json", {"Units": "arbitrary", "Axes": "x y z echo"})
    write_volume(folder / "phase.nii.gz", values.angle(), grid)
    write_json(folder / "phase.json", {"Units": "rad", "Axes": "x y z echo"})
    if images.uncombined is not None:
        coils = torch.movedim(images.uncombined, (0, 1), (-2, -1)).cpu()
        write_volume(folder / "magnitude_uncombined.nii.gz", coils.abs(), grid)
        write_volume(folder / "phase_uncombined.nii.gz", coils.angle(), grid)
        write_json(folder / "phase_uncombined.json", {"Units": "rad", "Axes": "x y z echo coil"})
    if images.field_uncertainty_hz is not None:
        write_volume(folder / "field_uncertainty.nii.gz", images.field_uncertainty_hz, grid)
        write_json(folder / "field_uncertainty.json", {"Units": "Hz", "Coverage": 0.68})
    write_lag_sums(folder / "mdi.h5", images.lag_sums, grid)
    about = {
        "method": method,
        "acceleration": raw.header.acceleration,
        "repetition_time_s": raw.header.repetition_time_s,
        "flip_angle_deg": raw.header.flip_angle_deg,
        "phase_sign": "exp(+i 2 pi f TE): positive phase is a higher field",
        "missing": list(raw.header.missing),
        "decisions": images.decisions,
        "peak_memory_mb": round(peak_memory_mb()),
    }
    write_scan(folder / SUMMARY, raw.header.scan, about)
