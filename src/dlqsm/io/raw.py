"""ISMRMRD raw data: all acquisition headers are read at once, samples in blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from ismrmrd import xsd
from numpy.typing import NDArray

from dlqsm.core.checks import InputError
from dlqsm.core.raw import (
    RawHeader,
    Readouts,
    Reference,
    calibration_region,
    flip_about_centre,
    require_calibration,
)
from dlqsm.core.scan import Grid
from dlqsm.io import raw_layout as layout
from dlqsm.io.files import require_file
from dlqsm.io.hdf5 import readable_hdf5, require_stored
from dlqsm.io.raw_header import Encoding, parse_xml, read_encoding, read_protocol
from dlqsm.io.raw_mend import mended_header
from dlqsm.io.raw_order import Order, order_acquisitions, require_plausible, with_partitions
from dlqsm.io.raw_write import write_raw

__all__ = ["RawFile", "read_heads", "read_raw", "write_raw"]

_SHORTEST_PROFILE, _MIRRORED_LEAST, _MIRRORED_MORE = 16, 0.9, 0.1
"""Samples of a profile, its correlation with that of the first echo once it is turned round, and by how much more."""
_EXPECTED = "raw data in ISMRMRD form (.h5)"
_HEAD_BLOCK = 256
"""Records read at once where their headers come only with their samples."""


@dataclass(frozen=True)
class RawFile:
    """Raw data in an ISMRMRD file: a `dlqsm.core.raw.RawData`.

    Parameters
    ----------
    path
        The file.
    header
        What is known of the data.
    group, order
        Where in the file the samples are.
    """

    path: Path
    header: RawHeader
    group: str
    order: Order

    def readouts(self, first: int, last: int) -> Readouts:
        """Return lines ``first`` to ``last - 1``: reversed ones flipped, averages averaged, the echo centred."""
        wanted = self.order.table[first:last]
        shaped = self.acquisitions(wanted.reshape(-1))
        shaped = shaped.reshape(*wanted.shape, self.header.n_coils, self.header.n_readout)
        return shaped[:, :, 0] if wanted.shape[2] == 1 else shaped.mean(axis=2)

    def acquisitions(self, numbers: NDArray[np.int64]) -> Readouts:
        """Return acquisitions by number, ``(acquisition, coil, n_readout)``: flipped if reversed, and centred."""
        out = np.zeros((numbers.size, self.header.n_coils, self.header.n_readout), np.complex64)
        places = np.argsort(numbers, kind="stable")
        runs = np.split(places, np.flatnonzero(np.diff(numbers[places]) != 1) + 1)
        with readable_hdf5(self.path, _EXPECTED) as file:
            samples = file[self.group]["data"].fields("data")
            for run in runs if numbers.size else []:
                first_number = int(numbers[run[0]])
                for place, flat in zip(run, samples[first_number : first_number + len(run)], strict=True):
                    self._place(out[place], int(numbers[place]), flat)
        return out

    def _place(self, target: Readouts, number: int, flat: NDArray[np.float32]) -> None:
        """Put one acquisition into ``target``, cut and shifted so that the echo sits at ``n // 2``."""
        n_coils, n_stored = self.order.n_coils, self.order.n_stored
        if flat.size != 2 * n_coils * n_stored:
            raise InputError(
                f"{self.path}: acquisition {number} holds {flat.size // 2} samples; expected {n_coils} coils x "
                f"{n_stored}; the file is damaged"
            )
        # A sum is finite exactly where all its terms are, short of overflow, and costs no temporary array.
        if not np.isfinite(flat.sum()):
            raise InputError(
                f"{self.path}: acquisition {number} holds samples that are not finite; export the raw data again"
            )
        line, reverse = flat.view(np.complex64).reshape(n_coils, n_stored), bool(self.order.reverse[number])
        source, destination = self.order.window(reverse, self.header.n_readout)
        target[:, destination] = (line[:, ::-1] if reverse else line)[:, source]


def read_raw(path: Path | str) -> RawFile:
    """Open Cartesian 3-D multi-echo raw data in ISMRMRD form; samples are read later, in blocks.

    Indices are shifted so that the k-space centre of the encoding limits sits at ``n // 2`` (partial Fourier data
    become lines that were not sampled). Reversed readouts are flipped; ``center_sample`` counts in the order in which
    samples were taken, and the echo is moved to ``n // 2``. Averages are averaged, and the noise scan scaled to match.
    The grid has the reconstructed size along the readout and the encoded size along both phase axes. Calibration
    lines are found from the sampling itself; lines of a separate calibration scan serve where they fill cells that
    imaging left empty, and as reference where the imaging lines hold no calibration region.

    Parameters
    ----------
    path
        ISMRMRD (HDF5) file.

    Returns
    -------
    The raw data; sentences on what the file lacked stand in ``header.missing``.

    Raises
    ------
    InputError
        If the file is not ISMRMRD, not Cartesian, not 3-D, incomplete, or has no calibration region.
    """
    path = Path(path)
    group, others, text, heads = read_heads(path)
    text, mended = mended_header(path, text)
    xml = parse_xml(path, text)
    encoding = read_encoding(path, xml)
    heads, moved = with_partitions(heads, encoding)
    order, assumed = order_acquisitions(path, heads, encoding)
    require_plausible(path, encoding, order)
    noise, assumed_of_noise = _read_noise(path, [group, *others], heads, order)
    missing = (*mended, *encoding.missing, *moved, *assumed, *assumed_of_noise)
    raw = RawFile(path, _header(path, xml, encoding, order, heads, noise, missing), group, order)
    return _with_word_on_mirrored_echoes(_with_reference(raw))


def _header(
    path: Path,
    xml: xsd.ismrmrdHeader,
    encoding: Encoding,
    order: Order,
    heads: NDArray[np.void],
    noise: NDArray[np.complex64] | None,
    assumed: tuple[str, ...],
) -> RawHeader:
    protocol = read_protocol(path, xml, order.table.shape[1])
    grid, assumed_of_grid = _grid(path, encoding, heads[order.table[0, 0, 0]])
    mask = np.zeros(encoding.shape[1:], dtype=bool)
    mask[order.lines[:, 0], order.lines[:, 1]] = True
    region = calibration_region(mask)
    return RawHeader(
        grid=grid,
        n_readout=encoding.n_readout,
        n_coils=order.n_coils,
        n_echoes=order.table.shape[1],
        lines=order.lines,
        calibration=region[order.lines[:, 0], order.lines[:, 1]],
        echo_times_s=protocol.echo_times_s,
        repetition_time_s=protocol.repetition_time_s,
        flip_angle_deg=protocol.flip_angle_deg,
        field_strength_t=protocol.field_strength_t,
        noise=noise,
        missing=(*protocol.missing, *assumed, *assumed_of_grid),
    )


def _with_reference(raw: RawFile) -> RawFile:
    """Add the separate calibration scan where the imaging lines hold no calibration region; refuse if there is none."""
    if raw.header.calibration.any():
        return raw
    mask = np.zeros(raw.header.grid.shape[1:], dtype=bool)
    lines = raw.order.reference_lines
    mask[lines[:, 0], lines[:, 1]] = True
    region = calibration_region(mask)
    require_calibration(region, str(raw.path))
    inside = region[lines[:, 0], lines[:, 1]]
    reference = Reference(lines[inside], raw.acquisitions(raw.order.reference[inside]))
    sentence = f"Coil sensitivities come from {int(inside.sum())} lines of a separate calibration scan."
    missing = (*(s for s in raw.header.missing if "separate calibration scan" not in s), sentence)
    return replace(raw, header=replace(raw.header, reference=reference, missing=missing))


def _with_word_on_mirrored_echoes(raw: RawFile) -> RawFile:
    """Say which echoes look read backwards without the flag of it, as those of philips_to_ismrmrd are."""
    header = raw.header
    central = int(np.abs(header.lines - np.array(header.grid.shape[1:]) // 2).sum(axis=1).argmin())
    kspace = np.fft.ifftshift(raw.readouts(central, central + 1)[0], axes=-1)
    profiles = np.abs(np.fft.fftshift(np.fft.ifft(kspace, axis=-1), axes=-1)).sum(axis=1)
    mirrored = [n + 1 for n, profile in enumerate(profiles) if _is_mirrored(profiles[0], profile)]
    if not mirrored:
        return raw
    named = " ".join(map(str, mirrored))
    sentence = (
        f"Echoes {named} look mirrored along the readout, and no flag says that they were read backwards; turn "
        f"them with dlqsm convert RAW.h5 OUT.h5 --reverse-echoes {named}."
    )
    return replace(raw, header=replace(header, missing=(*header.missing, sentence)))


def _is_mirrored(first: NDArray[np.floating], other: NDArray[np.floating]) -> bool:
    if len(first) < _SHORTEST_PROFILE:
        return False
    likeness = [
        float(np.corrcoef(first, profile)[0, 1]) if np.ptp(first) * np.ptp(profile) > 0 else 0.0
        for profile in (other, flip_about_centre(other))
    ]
    return likeness[1] > _MIRRORED_LEAST and likeness[1] > likeness[0] + _MIRRORED_MORE


def read_heads(path: Path) -> tuple[str, list[str], bytes, NDArray[np.void]]:
    """Name of the group with the images, names of others, text of the XML header and all acquisition headers."""
    _require_hdf5(path)
    with readable_hdf5(path, _EXPECTED) as file:
        groups = [
            name for name in file if isinstance(item := file.get(name), h5py.Group) and {"xml", "data"} <= set(item)
        ]
        if not groups:
            raise InputError(f"{path}: is HDF5 but not ISMRMRD: no group holds both 'xml' and 'data'")
        # siemens_to_ismrmrd -Z -M numbers measurements (dataset_1, ...); the last is the scan, those before prepare it.
        groups.sort(key=lambda name: (name == layout.GROUP, len(name), name), reverse=True)
        group = groups[0]
        data, xml = file[group]["data"], file[group]["xml"]
        if not _is_ismrmrd(data):
            raise InputError(f"{path}: its acquisitions do not have the fields of ISMRMRD; convert the file again")
        if not isinstance(xml, h5py.Dataset) or xml.shape != (1,):
            raise InputError(
                f"{path}: its XML header is no single text; expected one of ISMRMRD: convert the file again"
            )
        require_stored(path, data)
        heads = _headers_of(data)
        text = xml[0]
    return group, groups[1:], text if isinstance(text, bytes) else str(text).encode(), heads


def _require_hdf5(path: Path) -> None:
    require_file(path, _EXPECTED)
    try:
        h5py.File(path, "r").close()
    except OSError as error:
        if h5py.is_hdf5(path):
            raise InputError(f"{path}: is an HDF5 file that is cut off or damaged; copy or export it again") from error
        raise InputError(f"{path}: is not an HDF5 file; expected {_EXPECTED}") from error


def _is_ismrmrd(data: h5py.Dataset) -> bool:
    if not isinstance(data, h5py.Dataset) or data.ndim != 1:
        return False
    return {"head", "data"} <= set(data.dtype.names or ()) and data.dtype["head"].names == layout.HEAD.names


def _headers_of(data: h5py.Dataset) -> NDArray[np.void]:
    """All acquisition headers, without the samples wherever the file's layout allows it."""
    n, chunk = data.shape[0], data.chunks[0] if data.chunks else 0
    heads = np.empty(n, layout.HEAD)
    if not chunk or data.id.get_create_plist().get_nfilters() or data.id.get_num_chunks() * chunk < n:
        for first in range(0, n, _HEAD_BLOCK):
            heads[first : first + _HEAD_BLOCK] = data[first : first + _HEAD_BLOCK]["head"]
        return heads
    # Asking h5py for this one field reads all samples as well, and never frees them; the chunks themselves hold headers
    # and mere references to samples.
    kind = data.id.get_type()
    member = kind.get_member_index(b"head")
    record = np.dtype(
        {
            "names": ["head"],
            "formats": [kind.get_member_type(member).dtype],
            "offsets": [kind.get_member_offset(member)],
            "itemsize": kind.get_size(),
        }
    )
    for first in range(0, n, chunk):
        _, stored = data.id.read_direct_chunk((first,))
        heads[first : first + chunk] = np.frombuffer(stored, record)["head"][: n - first]
    return heads


def _read_noise(
    path: Path, groups: list[str], heads: NDArray[np.void], order: Order
) -> tuple[NDArray[np.complex64] | None, tuple[str, ...]]:
    """Samples of the noise scan ``(coil, n)``, scaled to the bandwidth and the averages of the imaging readouts.

    The first of the groups that holds one is taken: that of the images, else a measurement before it.
    """
    with readable_hdf5(path, _EXPECTED) as file:
        for group in groups:
            data = file[group]["data"]
            if not _is_ismrmrd(data):
                continue
            require_stored(path, data)
            own = heads if group == groups[0] else _headers_of(data)
            numbers = np.flatnonzero(((own["flags"] & layout.NOISE) != 0) & (own["active_channels"] == order.n_coils))
            if len(numbers):
                samples = data.fields("data")
                parts = [samples[int(i)].view(np.complex64).reshape(order.n_coils, -1) for i in numbers]
                dwell_noise = float(own["sample_time_us"][numbers[0]])
                break
        else:
            return None, ("The raw data hold no noise scan that fits their coils.",)
    noise = np.concatenate(parts, axis=1)
    if not np.isfinite(noise).all():
        raise InputError(f"{path}: its noise scan holds samples that are not finite; export the raw data again")
    dwell = float(heads["sample_time_us"][order.table[0, 0, 0]])
    # The SD of noise goes with the root of the bandwidth, that is with 1 / root of the dwell time.
    scale = np.sqrt(dwell_noise / dwell) if min(dwell_noise, dwell) > 0 and max(dwell_noise, dwell) < np.inf else 1.0
    return (noise * np.complex64(scale / np.sqrt(order.table.shape[2]))).astype(np.complex64), ()


def _grid(path: Path, encoding: Encoding, head: np.void) -> tuple[Grid, tuple[str, ...]]:
    directions = np.array([head["read_dir"], head["phase_dir"], head["slice_dir"]], np.float64)
    lengths = np.linalg.norm(directions, axis=1)
    if np.abs(lengths - 1.0).max() > 1e-2 or abs(np.linalg.det(directions)) < 0.5:
        sentence = "The raw data give no directions of their axes; the array axes are taken as those of the scanner."
        return Grid.centred(encoding.shape, encoding.voxel_size_mm, np.eye(3)), (sentence,)
    if encoding.counts_against_gradients:
        directions = -directions
    position = np.asarray(head["position"], np.float64)
    try:
        return layout.grid_from_lps(encoding.shape, encoding.voxel_size_mm, position, directions), ()
    except InputError as error:
        raise InputError(f"{path}: position and directions of its acquisitions: {error}") from None
