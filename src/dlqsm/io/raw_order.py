"""Which acquisition of an ISMRMRD file holds which line and echo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlqsm.core.checks import InputError
from dlqsm.io import raw_layout as layout
from dlqsm.io.raw_header import Encoding, Limit

_MOST_CELLS_A_LINE, _MOST_TIMES_STORED = 1000, 16
"""Net acceleration and share of a partial echo beyond which a header is taken for damaged."""
_SAMPLE_BYTES = 8


@dataclass(frozen=True)
class Order:
    """Where the samples of each line are.

    Parameters
    ----------
    lines
        ``(n_lines, 2)``: ky, kz on the grid, in the order of acquisition.
    table
        ``(n_lines, n_echoes, n_averages)``: number of the acquisition.
    reverse
        ``(n_acquisitions,)`` bool: read backwards.
    n_coils, n_stored
        Channels and samples of each acquisition.
    first_sample, last_sample
        Samples between the discarded ones.
    centre_sample
        Sample at the centre of k-space.
    reference, reference_lines
        Acquisitions of a separate calibration scan that are no lines, and their ky, kz; empty where there are none.
    """

    lines: NDArray[np.int32]
    table: NDArray[np.int64]
    reverse: NDArray[np.bool_]
    n_coils: int
    n_stored: int
    first_sample: int
    last_sample: int
    centre_sample: int
    reference: NDArray[np.int64]
    reference_lines: NDArray[np.int32]

    def window(self, reverse: bool, n_readout: int) -> tuple[slice, slice]:
        """Samples to take (of the flipped readout, if reversed) and where to put them, the centre at ``n // 2``."""
        first, last, centre = self.first_sample, self.last_sample, self.centre_sample
        if reverse:
            first, last, centre = self.n_stored - last, self.n_stored - first, self.n_stored - 1 - centre
        shift = n_readout // 2 - centre
        low, high = max(first + shift, 0), min(last + shift, n_readout)
        return slice(low - shift, high - shift), slice(low, high)


def order_acquisitions(path: Path, heads: NDArray[np.void], encoding: Encoding) -> tuple[Order, tuple[str, ...]]:
    """Sort the imaging acquisitions into lines, echoes and averages; refuse what does not fit; say what was assumed."""
    flags, idx = heads["flags"], heads["idx"]
    imaging = np.flatnonzero((flags & (layout.NOISE | layout.NOT_IMAGING)) == 0)
    imaging, said = _of_one_encoding(heads, imaging)
    _refuse_other_scans(path, heads[imaging])
    imaging, reference, spare = _without_spare_calibration(heads, imaging)
    missing = (*said, *spare)
    cells = _cells(path, idx[imaging], encoding.limits)
    lines, line_of = _lines_in_order(cells)
    table = _table(path, idx[imaging], imaging, line_of, lines)
    one = heads[imaging]
    n_stored = _the_only(path, "number_of_samples", one["number_of_samples"])
    pre, post = int(one["discard_pre"][0]), int(one["discard_post"][0])
    centre = _the_only(path, "center_sample", one["center_sample"])
    if pre + post >= n_stored or centre >= n_stored:
        raise InputError(
            f"{path}: its readouts of {n_stored} samples discard {pre} before and {post} behind, and have their centre "
            f"at {centre}; the acquisition headers are damaged: convert the file again"
        )
    if centre == 0 and n_stored > 1:
        centre = n_stored // 2
        missing = (*missing, f"The acquisitions give no centre of the readout; sample {centre} is taken.")
    order = Order(
        lines=lines,
        table=table,
        reverse=(flags & layout.REVERSE) != 0,
        n_coils=_the_only(path, "active_channels", one["active_channels"]),
        n_stored=n_stored,
        first_sample=pre,
        last_sample=n_stored - post,
        centre_sample=centre,
        reference=reference,
        reference_lines=_cells(path, idx[reference], encoding.limits) if len(reference) else lines[:0],
    )
    return order, missing


def require_plausible(path: Path, encoding: Encoding, order: Order) -> None:
    """Raise `InputError` where sizes of the header, for which memory would be taken, do not go with what is there."""
    ny, nz = encoding.shape[1:]
    if ny * nz > _MOST_CELLS_A_LINE * len(order.lines):
        raise InputError(
            f"{path}: its header encodes {ny} x {nz} lines, and its acquisitions fill {len(order.lines)} of them; "
            "correct encodedSpace"
        )
    if encoding.n_readout > _MOST_TIMES_STORED * order.n_stored:
        raise InputError(
            f"{path}: its header encodes readouts of {encoding.n_readout} samples, and its acquisitions hold "
            f"{order.n_stored}; correct encodedSpace"
        )
    declared, size = order.table.size * order.n_coils * order.n_stored * _SAMPLE_BYTES, path.stat().st_size
    if declared > size:
        raise InputError(
            f"{path}: its acquisitions declare {declared} bytes of samples; the file has {size}: it is cut off or "
            "damaged, copy or export it again"
        )


def _refuse_other_scans(path: Path, heads: NDArray[np.void]) -> None:
    if not len(heads):
        raise InputError(f"{path}: holds no imaging acquisitions; only noise or navigators were found")
    if heads["idx"]["slice"].any():
        n_slices = int(heads["idx"]["slice"].max()) + 1
        raise InputError(f"{path}: holds {n_slices} slices of 2-D data; only 3-D data of one slab can be used")
    for counter in ("repetition", "phase", "set"):
        n = len(np.unique(heads["idx"][counter]))
        if n > 1:
            raise InputError(f"{path}: holds {n} values of '{counter}'; write each into a file of its own")
    for name in ("position", "read_dir", "phase_dir", "slice_dir"):
        if np.ptp(heads[name], axis=0).max() > 1e-3:
            raise InputError(f"{path}: '{name}' changes between acquisitions; expected one slab in one place")


def with_partitions(heads: NDArray[np.void], encoding: Encoding) -> tuple[NDArray[np.void], tuple[str, ...]]:
    """Headers whose slice counter numbers partitions, as ge_to_ismrmrd writes 3-D scans, with the right counter."""
    slices, partitions = heads["idx"]["slice"], heads["idx"]["kspace_encode_step_2"]
    n = encoding.shape[2]
    if n == 1 or partitions.any() or int(slices.max(initial=0)) + 1 != n:
        return heads, ()
    heads = heads.copy()
    heads["idx"]["kspace_encode_step_2"], heads["idx"]["slice"] = slices, 0
    heads["position"] = heads["position"][slices == n // 2][0]
    sentence = f"The slice counter runs over the {n} partitions of a 3-D scan, and is taken for the partition."
    return heads, (sentence,)


def _of_one_encoding(heads: NDArray[np.void], imaging: NDArray[np.int64]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Leave out acquisitions of other encodings than the first, such as calibration scans of another resolution."""
    other = heads["encoding_space_ref"][imaging] != 0
    if not other.any() or other.all():
        return imaging, ()
    return imaging[~other], (f"{int(other.sum())} readouts of another encoding are not used.",)


def _without_spare_calibration(
    heads: NDArray[np.void], imaging: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...]]:
    """Imaging lines, and readouts of a separate calibration scan that fill no empty cell; what was left out, in words.

    A line of such a scan counts as imaging where it has all echoes and no imaging line is there; the others can serve
    as reference, as far as they have the length of imaging readouts.
    """
    flags, idx = heads["flags"][imaging], heads["idx"]
    separate = ((flags & layout.CALIBRATION_ONLY) != 0) & ((flags & layout.CALIBRATION_AND_IMAGING) == 0)
    none = imaging[:0]
    if not separate.any() or separate.all():
        return imaging, none, ()
    lengths = heads["number_of_samples"][imaging]
    fits = lengths == lengths[~separate][0]
    key = _cell_key(idx[imaging])
    n_echoes = len(np.unique(idx["contrast"][imaging[~separate]]))
    cells, counts = np.unique(key[separate & fits], return_counts=True)
    useful = cells[(counts >= n_echoes) & ~np.isin(cells, key[~separate])]
    spare = separate & ~(fits & np.isin(key, useful))
    sentence = f"{int(spare.sum())} readouts of a separate calibration scan that repeat imaging lines are not used."
    return imaging[~spare], _one_each(imaging[spare & fits], idx), (sentence,) if spare.any() else ()


def _one_each(numbers: NDArray[np.int64], idx: NDArray[np.void]) -> NDArray[np.int64]:
    """One acquisition a cell: the first of the first echo."""
    first_echo = idx["contrast"][numbers] == idx["contrast"][numbers].min(initial=np.iinfo(np.uint16).max)
    numbers = numbers[first_echo]
    _, first = np.unique(_cell_key(idx[numbers]), return_index=True)
    return numbers[np.sort(first)]


def _cell_key(idx: NDArray[np.void]) -> NDArray[np.int64]:
    return idx["kspace_encode_step_1"].astype(np.int64) * 2**16 + idx["kspace_encode_step_2"]


def _cells(path: Path, idx: NDArray[np.void], limits: tuple[Limit, Limit]) -> NDArray[np.int32]:
    """Indices on the grid, with the centre at ``n // 2``."""
    columns = []
    for limit in limits:
        index = idx[limit.name].astype(np.int64)
        if index.min() < limit.minimum or index.max() > limit.maximum:
            raise InputError(
                f"{path}: {limit.name} runs from {index.min()} to {index.max()}, outside the encoding limits "
                f"{limit.minimum} to {limit.maximum} of its header"
            )
        shifted = index - limit.centre + limit.size // 2
        if shifted.min() < 0 or shifted.max() >= limit.size:
            raise InputError(
                f"{path}: {limit.name} runs from {index.min()} to {index.max()} about the centre {limit.centre}, "
                f"which does not fit into {limit.size} encoded lines; correct encodingLimits or encodedSpace"
            )
        columns.append(shifted)
    return np.stack(columns, axis=1).astype(np.int32)


def _lines_in_order(cells: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Unique cells in the order of their first acquisition, and the line of each acquisition."""
    unique, first, inverse = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    by_time = np.argsort(first)
    rank = np.empty_like(by_time)
    rank[by_time] = np.arange(len(by_time))
    return unique[by_time], rank[inverse.reshape(-1)]


def _table(
    path: Path,
    idx: NDArray[np.void],
    numbers: NDArray[np.int64],
    line_of: NDArray[np.int64],
    lines: NDArray[np.int32],
) -> NDArray[np.int64]:
    """Number of the acquisition for each line, echo and average; every place must be filled exactly once."""
    echo, average = idx["contrast"].astype(np.int64), idx["average"].astype(np.int64)
    n_echoes, n_averages = int(echo.max()) + 1, int(average.max()) + 1
    n_expected = len(lines) * n_echoes * n_averages
    if n_expected > _MOST_TIMES_STORED * len(numbers):
        raise InputError(
            f"{path}: its counters reach {n_echoes} echoes and {n_averages} averages of {len(lines)} lines, "
            f"{n_expected} readouts; it holds {len(numbers)}: correct the counters or convert the file again"
        )
    count = np.zeros((len(lines), n_echoes, n_averages), np.int64)
    np.add.at(count, (line_of, echo, average), 1)
    if (count != 1).any():
        line, which, _ = (int(i) for i in np.argwhere(count != 1)[0])
        ky, kz = (int(i) for i in lines[line])
        got = int(count[line, which].sum())
        raise InputError(
            f"{path}: line (ky {ky}, kz {kz}) has {got} readouts of echo {which + 1}; expected {n_averages} for each "
            f"of {n_echoes} echoes of every line ({int((count != 1).any(axis=(1, 2)).sum())} lines differ)"
        )
    table = np.empty_like(count)
    table[line_of, echo, average] = numbers
    return table


def _the_only(path: Path, name: str, values: NDArray[np.uint16]) -> int:
    found = np.unique(values)
    if len(found) > 1:
        what = {"active_channels": "number of coils", "number_of_samples": "number of samples"}.get(name, name)
        raise InputError(
            f"{path}: the {what} changes from {found[0]} to {found[-1]} between acquisitions; expected the same in all"
        )
    return int(found[0])
