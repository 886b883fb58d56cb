"""Training data: slabs of x-planes of whitened k-space with maps and truth, one safetensors file each."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dlqsm.core.checks import InputError

FORMAT: Final = "dlqsm-slab 1"
SUFFIX: Final = ".safetensors"
_PARTIAL: Final = ".partial-"


@dataclass(frozen=True, eq=False)
class TrainingSlab:
    """Neighbouring x-planes of one scan, in units in which the scan's own noise has SD 1 a component.

    Parameters
    ----------
    kspace
        Whitened, compressed samples ``(echo, coil, x, ky, kz)`` complex64, k-space centre at ``n // 2``; fully sampled
        unless ``sampling_mask`` says otherwise.
    maps
        Sensitivities ``(coil, x, y, z)`` from the noisy calibration region, as a reconstruction would have them.
    brain, nuclei
        Where the field is judged, ``(x, y, z)`` bool; nuclei may be empty.
    echo_times_s
        Echo times [s].
    voxel_size_mm
        Voxel edges [mm].
    snr
        SNR of white matter at the first echo; None where unknown.
    field_hz
        True field [Hz], ``(x, y, z)``; None where unknown.
    sampling_mask
        Sampled cells ``(ky, kz)``; None where all are.
    noise_sd
        Noise that ``kspace`` holds: 0 for a clean virtual scan, 1 for a measured one.
    source
        What the slab was made from, for people.
    """

    kspace: torch.Tensor
    maps: torch.Tensor
    brain: torch.Tensor
    nuclei: torch.Tensor
    echo_times_s: tuple[float, ...]
    voxel_size_mm: tuple[float, float, float]
    snr: float | None = None
    field_hz: torch.Tensor | None = None
    sampling_mask: torch.Tensor | None = None
    noise_sd: float = 0.0
    source: str = ""

    def to(self, device: torch.device) -> TrainingSlab:
        """Return the slab with all tensors on a device."""
        moved = {name: _moved(value, device) for name, value in vars(self).items()}
        return TrainingSlab(**moved)


@dataclass(frozen=True)
class SlabFile:
    """A slab on disk, of which only the planes and echoes asked for are read.

    Parameters
    ----------
    path
        The file.
    shape
        Echoes, coils, x-planes, ky, kz.
    fully_sampled
        Whether all (ky, kz) cells are there.
    about
        Plain values stored beside the tensors.
    """

    path: Path
    shape: tuple[int, int, int, int, int]
    fully_sampled: bool
    about: dict[str, Any]

    def read(self, planes: slice = slice(None), echoes: Sequence[int] | None = None) -> TrainingSlab:
        """Read some planes of some echoes (all where None)."""
        chosen = range(self.shape[0]) if echoes is None else echoes
        with safe_open(self.path, framework="pt") as file:
            names = set(file.keys())
            samples = file.get_slice("kspace")
            kspace = torch.stack([samples[echo : echo + 1, :, planes][0] for echo in chosen])
            maps = file.get_slice("maps")[:, planes]
            brain, nuclei = file.get_slice("brain")[planes], file.get_slice("nuclei")[planes]
            field_hz = file.get_slice("field_hz")[planes] if "field_hz" in names else None
            mask = file.get_tensor("sampling_mask") if "sampling_mask" in names else None
        times = [float(t) for t in self.about["echo_times_s"]]
        x, y, z = (float(v) for v in self.about["voxel_size_mm"])
        snr = self.about["snr"]
        return TrainingSlab(
            kspace=torch.view_as_complex(kspace),
            maps=torch.view_as_complex(maps.contiguous()),
            brain=brain,
            nuclei=nuclei,
            echo_times_s=tuple(times[echo] for echo in chosen),
            voxel_size_mm=(x, y, z),
            snr=None if snr is None else float(snr),
            field_hz=field_hz,
            sampling_mask=mask,
            noise_sd=float(self.about["noise_sd"]),
            source=str(self.about["source"]),
        )


@dataclass(frozen=True, eq=False)
class HeldSlab:
    """A slab in memory, of which parts are taken as of a `SlabFile`."""

    slab: TrainingSlab

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Echoes, coils, x-planes, ky, kz."""
        echoes, coils, planes, ky, kz = self.slab.kspace.shape
        return echoes, coils, planes, ky, kz

    @property
    def fully_sampled(self) -> bool:
        """Whether all (ky, kz) cells are there."""
        return self.slab.sampling_mask is None

    def read(self, planes: slice = slice(None), echoes: Sequence[int] | None = None) -> TrainingSlab:
        """Take some planes of some echoes (all where None)."""
        slab, chosen = self.slab, list(range(self.shape[0]) if echoes is None else echoes)
        return replace(
            slab,
            kspace=slab.kspace[chosen, :, planes],
            maps=slab.maps[:, planes],
            brain=slab.brain[planes],
            nuclei=slab.nuclei[planes],
            field_hz=None if slab.field_hz is None else slab.field_hz[planes],
            echo_times_s=tuple(slab.echo_times_s[echo] for echo in chosen),
        )


class SlabSource(Protocol):
    """Where slabs come from: a `SlabFile` or a `HeldSlab`."""

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Echoes, coils, x-planes, ky, kz."""

    @property
    def fully_sampled(self) -> bool:
        """Whether all (ky, kz) cells are there."""

    def read(self, planes: slice = slice(None), echoes: Sequence[int] | None = None) -> TrainingSlab:
        """Some planes of some echoes (all where None)."""


def write_slab(path: Path, slab: TrainingSlab) -> None:
    """Write a slab, whole or not at all, so that a training under way may find new files."""
    tensors = {
        "kspace": torch.view_as_real(slab.kspace.resolve_conj()).float().contiguous(),
        "maps": torch.view_as_real(slab.maps.resolve_conj()).float().contiguous(),
        "brain": slab.brain.contiguous(),
        "nuclei": slab.nuclei.contiguous(),
    }
    if slab.field_hz is not None:
        tensors["field_hz"] = slab.field_hz.float().contiguous()
    if slab.sampling_mask is not None:
        tensors["sampling_mask"] = slab.sampling_mask.contiguous()
    about = {
        "echo_times_s": slab.echo_times_s,
        "voxel_size_mm": slab.voxel_size_mm,
        "snr": slab.snr,
        "noise_sd": slab.noise_sd,
        "source": slab.source,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{_PARTIAL}{os.getpid()}-{path.name}")
    try:
        save_file(tensors, partial, metadata={"format": FORMAT, "about": json.dumps(about)})
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def open_slab(path: Path) -> SlabFile:
    """Look at a slab file without reading its samples.

    Raises
    ------
    InputError
        If the file is none of `write_slab`.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("format") != FORMAT:
                raise InputError(f"{path}: expected a training slab ('{FORMAT}'); got '{about.get('format', 'none')}'")
            shape = file.get_slice("kspace").get_shape()
            fully_sampled = "sampling_mask" not in set(file.keys())
    except (SafetensorError, FileNotFoundError) as error:
        raise InputError(
            f"{path}: expected a training slab in a safetensors file; it cannot be read ({error})"
        ) from None
    echoes, coils, planes, ky, kz = (int(n) for n in shape[:5])
    return SlabFile(path, (echoes, coils, planes, ky, kz), fully_sampled, json.loads(about["about"]))


def slab_paths(folder: Path) -> list[Path]:
    """Slab files of a folder in the order of their names; half-written ones are not among them."""
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
