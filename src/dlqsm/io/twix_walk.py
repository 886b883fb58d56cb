"""From readout to readout through Siemens raw data: the parser would go on for ever where one of them is damaged."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Final

import numpy as np
from twixtools import hdr_def, mdh_def

from dlqsm.core.checks import InputError

MOST_PARTS: Final = 64
_OLDEST_HEADER: Final = 10_000
"""Files since software VD begin with a smaller number: older ones with the length of their header."""
_LEAST_LEFT: Final = 128
"""The parser stops where so many bytes or fewer are left of a measurement."""


def require_walkable(path: Path) -> None:
    """Raise `InputError` unless every measurement leads from readout to readout to its end.

    Raises
    ------
    InputError
        If the file does not begin as Siemens raw data do, a readout has no length, or the file ends before the mark of
        the scan's end.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        first, second = _numbers(file.read(8))
        if not 0 < second <= MOST_PARTS or first > size:
            raise InputError(
                f"{path}: expected Siemens raw data (twix, meas.dat); it does not begin as such a file does"
            )
        is_recent = first < _OLDEST_HEADER
        parts = list(_measurements(path, file, size)) if is_recent else [(0, size)]
        for start, end in parts:
            _walk(path, file, start, end, is_recent=is_recent, is_last=(start, end) == parts[-1])


def _numbers(start: bytes) -> tuple[int, int]:
    first, second = np.frombuffer(start, "<u4") if len(start) == 8 else (0, 0)
    return int(first), int(second)


def _measurements(path: Path, file: BufferedReader, size: int) -> Iterator[tuple[int, int]]:
    """Where each measurement of a recent file begins and ends."""
    file.seek(0)
    content = file.read(hdr_def.MultiRaidFileHeader.itemsize)
    if len(content) < hdr_def.MultiRaidFileHeader.itemsize:
        raise _cut(path)
    head = np.frombuffer(content, hdr_def.MultiRaidFileHeader)[0]
    for entry in head["entry"][: int(head["hdr"]["count_"])]:
        start, length = int(entry["off_"]), int(entry["len_"])
        if start + 8 > size:
            raise _cut(path)
        # Of a single measurement without a length the parser takes all that there is; of several it reads nothing then.
        yield start, start + (length or (size - start if int(head["hdr"]["count_"]) == 1 else 0))


def _walk(path: Path, file: BufferedReader, start: int, end: int, *, is_recent: bool, is_last: bool) -> None:
    """Follow the readouts of one measurement as the parser does."""
    header = mdh_def.Scan_header if is_recent else mdh_def.VB17_header
    channel = mdh_def.Channel_header if is_recent else mdh_def.VB17_header
    file.seek(start)
    position = start + _numbers(file.read(8))[0]
    while position + _LEAST_LEFT < end:
        file.seek(position)
        mdh = header()
        if file.readinto(mdh) < ctypes.sizeof(header):
            raise _cut(path)
        length = int(mdh_def.get_dma_len(mdh))
        is_end, is_sync = (mdh_def.is_flag_set(mdh, flag) for flag in ("ACQEND", "SYNCDATA"))
        if not is_end and not is_sync:
            one = 8 * int(mdh.SamplesInScan) + ctypes.sizeof(channel)
            length = int(mdh.UsedChannels) * one + (ctypes.sizeof(header) if is_recent else 0)
        if is_end and not is_sync:  # data for the scanner's own use are passed over before the end is looked for
            return
        if length < _LEAST_LEFT:
            raise InputError(
                f"{path}: the readout at byte {position} has no length; it is damaged: copy it from the scanner again"
            )
        position += length
    if is_last:
        raise _cut(path)


def _cut(path: Path) -> InputError:
    return InputError(
        f"{path}: ends before the mark of the scan's end: the file is cut short, or the scan was stopped; copy it from "
        "the scanner again"
    )
