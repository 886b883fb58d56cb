"""ISMRMRD raw data: all acquisition headers are read at once, samples in blocks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from ismrmrd import xsd
from numpy.typing import NDArray

from dlqsm.core.checks import InputError
from dlqsm.core.raw import RawHeader, Readouts, calibration_region, require_calibration
from dlqsm.core.scan import Grid
from dlqsm.io import raw_layout as layout
from dlqsm.io.raw_header import Encoding, parse_xml, read_encoding, read_protocol
from dlqsm.io.raw_order import Order, order_acquisitions
from dlqsm.io.raw_write import write_raw

__all__ = ["RawFile", "read_raw", "write_raw"]

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
        header, wanted = self.header, self.order.table[first:last]
        out = np.zeros((wanted.size, header.n_coils, header.n_readout), np.complex64)
        numbers = wanted.reshape(-1)
        places = np.argsort(numbers, kind="stable")
        runs = np.split(places, np.flatnonzero(np.diff(numbers[places]) != 1) + 1)
        with h5py.File(self.path, "r") as file:
            samples = file[self.group]["data"].fields("data")
            for run in runs if numbers.size else []:
                first_number = int(numbers[run[0]])
                for place, flat in zip(run, samples[first_number : first_number + len(run)], strict=True):
                    self._place(out[place], int(numbers[place]), flat)
        shaped = out.reshape(*wanted.shape, header.n_coils, header.n_readout)
        return shaped[:, :, 0] if wanted.shape[2] == 1 else shaped.mean(axis=2)

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
    imaging left empty, and are ignored elsewhere.

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
    group, text, heads = _read_heads(path)
    xml = parse_xml(path, text)
    encoding = read_encoding(path, xml)
    order, assumed = order_acquisitions(path, heads, encoding)
    noise, assumed_of_noise = _read_noise(path, group, heads, order)
    header = _header(path, xml, encoding, order, heads, noise, (*encoding.missing, *assumed, *assumed_of_noise))
    return RawFile(path, header, group, order)


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
    grid, assumed_of_grid = _grid(encoding, heads[order.table[0, 0, 0]])
    mask = np.zeros(encoding.shape[1:], dtype=bool)
    mask[order.lines[:, 0], order.lines[:, 1]] = True
    region = calibration_region(mask)
    require_calibration(region, str(path))
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


def _read_heads(path: Path) -> tuple[str, bytes, NDArray[np.void]]:
    """Name of the group, text of the XML header and all acquisition headers."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; expected raw data in ISMRMRD form (.h5)")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path}: is not an HDF5 file; expected raw data in ISMRMRD form (.h5)") from error
    with file:
        groups = [name for name, item in file.items() if isinstance(item, h5py.Group) and {"xml", "data"} <= set(item)]
        if not groups:
            raise InputError(f"{path}: is HDF5 but not ISMRMRD: no group holds both 'xml' and 'data'")
        group = layout.GROUP if layout.GROUP in groups else groups[0]
        data = file[group]["data"]
        if not {"head", "data"} <= set(data.dtype.names or ()) or data.dtype["head"].names != layout.HEAD.names:
            raise InputError(f"{path}: its acquisitions do not have the fields of ISMRMRD; convert the file again")
        heads = _headers_of(data)
        text = file[group]["xml"][0]
    return group, text if isinstance(text, bytes) else str(text).encode(), heads


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
    path: Path, group: str, heads: NDArray[np.void], order: Order
) -> tuple[NDArray[np.complex64] | None, tuple[str, ...]]:
    """Samples of the noise scan ``(coil, n)``, scaled to the bandwidth and the averages of the imaging readouts."""
    numbers = np.flatnonzero((heads["flags"] & layout.NOISE) != 0)
    numbers = numbers[heads["active_channels"][numbers] == order.n_coils]
    if not len(numbers):
        return None, ("The raw data hold no noise scan that fits their coils.",)
    with h5py.File(path, "r") as file:
        samples = file[group]["data"].fields("data")
        parts = [samples[int(i)].view(np.complex64).reshape(order.n_coils, -1) for i in numbers]
    noise = np.concatenate(parts, axis=1)
    if not np.isfinite(noise).all():
        raise InputError(f"{path}: its noise scan holds samples that are not finite; export the raw data again")
    dwell_noise, dwell = (float(heads["sample_time_us"][i]) for i in (numbers[0], order.table[0, 0, 0]))
    # The SD of noise goes with the root of the bandwidth, that is with 1 / root of the dwell time.
    scale = np.sqrt(dwell_noise / dwell) if min(dwell_noise, dwell) > 0 else 1.0
    return (noise * np.complex64(scale / np.sqrt(order.table.shape[2]))).astype(np.complex64), ()


def _grid(encoding: Encoding, head: np.void) -> tuple[Grid, tuple[str, ...]]:
    directions = np.array([head["read_dir"], head["phase_dir"], head["slice_dir"]], np.float64)
    lengths = np.linalg.norm(directions, axis=1)
    if np.abs(lengths - 1.0).max() > 1e-2 or abs(np.linalg.det(directions)) < 0.5:
        sentence = "The raw data give no directions of their axes; the array axes are taken as those of the scanner."
        return Grid.centred(encoding.shape, encoding.voxel_size_mm, np.eye(3)), (sentence,)
    position = np.asarray(head["position"], np.float64)
    return layout.grid_from_lps(encoding.shape, encoding.voxel_size_mm, position, directions), ()
