"""DICOM files of a folder or a zip file: found, unpacked, and sorted into series by their headers."""

from __future__ import annotations

import gzip
import shutil
import uuid
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from dlqsm.core.checks import InputError
from dlqsm.io.dicom_header import TAGS, Person, Series, person_of, series_of, without_names
from dlqsm.io.files import visible

_PREAMBLE: Final = 128
_MAGIC: Final = b"DICM"
_DEEPEST_ZIP: Final = 3
_MOST_GROWTH: Final = 200
_ALWAYS_ALLOWED: Final = 2**30
"""Packed images grow a few times when unpacked, empty ones more: beyond this factor and size [bytes] it is a bomb."""
_MOST_MEMBERS: Final = 10**6
_BLOCK: Final = 2**20
_MR_IMAGES: Final = tuple(f"1.2.840.10008.5.1.4.1.1.4{part}" for part in ("", ".1", ".3", ".4"))
"""Storage classes of MR images: classic, enhanced, in colour, and classic ones put together to one file."""
_UNREADABLE: Final = (zipfile.BadZipFile, OSError, EOFError, zlib.error, RuntimeError, NotImplementedError)


@dataclass(frozen=True, slots=True)
class Study:
    """What the DICOM files of one participant hold.

    Parameters
    ----------
    series
        MR image series, in the order of their numbers.
    person
        Who was scanned.
    n_other
        Files that are no MR images in DICOM form.
    """

    series: tuple[Series, ...]
    person: Person
    n_other: int


@dataclass(frozen=True, slots=True)
class _File:
    """A file to look at, and the name that the user knows it by."""

    path: Path
    shown: str


def read_study(source: Path, scratch: Path) -> Study:
    """Find the MR images in a folder (however nested), a zip file or one DICOM file; nothing is converted yet.

    Zip files in a folder are unpacked, and files compressed by gzip; a zip file may hold others.

    Parameters
    ----------
    source
        Folder or file.
    scratch
        Existing folder for what must be unpacked.

    Raises
    ------
    InputError
        If there is no MR image in DICOM form, a zip file is damaged or holds paths that leave it, or the images are of
        more than one person.
    """
    if not source.exists():
        raise InputError(f"{source}: there is no such file or folder; expected DICOM files, a zip file or raw data")
    found = list(_files(source, scratch))
    heads = [(file, head) for file in found if (head := _head(file)) is not None]
    if not heads:
        raise InputError(
            f"{source}: expected MR images in DICOM form; none of its {len(found)} files is one: give the folder or "
            "zip file that the scanner exported"
        )
    _require_one_person(heads)
    by_uid: dict[str, list[tuple[_File, Dataset]]] = {}
    for file, head in heads:
        by_uid.setdefault(str(head.get("SeriesInstanceUID", "")), []).append((file, head))
    series = [series_of([(f.path, f.shown) for f, _ in group], [h for _, h in group]) for group in by_uid.values()]
    person = person_of([head for _, head in heads])
    shown = (without_names(one, person) for one in sorted(series, key=lambda s: s.number))
    return Study(tuple(shown), person, len(found) - len(heads))


def _files(source: Path, scratch: Path) -> Iterator[_File]:
    """All files below a folder but hidden ones, or the file itself, unpacked where need be."""
    paths = visible(p for p in source.rglob("*") if p.is_file()) if source.is_dir() else [source]
    for path in paths:
        yield from _unpacked(_File(path, str(path)), scratch, 0)


def _unpacked(file: _File, scratch: Path, depth: int) -> Iterator[_File]:
    """The file, or what it holds where it is a zip or gzip file."""
    if file.shown.lower().endswith(".gz"):
        yield _gunzipped(file, scratch)
    elif not file.shown.lower().endswith(".zip"):
        yield file
    elif depth == _DEEPEST_ZIP:
        raise InputError(f"{file.shown}: is a zip file inside {depth} others; unpack it and give the folder")
    else:
        for member in _unzipped(file, scratch):
            yield from _unpacked(member, scratch, depth + 1)


def _unzipped(file: _File, scratch: Path) -> Iterator[_File]:
    """Members of a zip file, unpacked under names of our own, so that no path in it matters."""
    try:
        with zipfile.ZipFile(file.path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir()]
            _require_inside(file, [m.filename for m in members])
            _require_room(file, sum(m.file_size for m in members), scratch)
            if len(members) > _MOST_MEMBERS:
                raise InputError(f"{file.shown}: holds {len(members)} files; expected those of one examination")
            for member in (m for m in members if not Path(m.filename).name.startswith(".")):
                target = _new_name(scratch)
                with archive.open(member) as packed:
                    _unpack(file, packed, target, member.file_size)
                yield _File(target, f"{file.shown}: {member.filename}")
    except _UNREADABLE as error:
        raise InputError(
            f"{file.shown}: expected a zip file, but it cannot be read ({error}); pack it again, or give the folder"
        ) from None


def _gunzipped(file: _File, scratch: Path) -> _File:
    target = _new_name(scratch)
    try:
        with gzip.open(file.path) as packed:
            _unpack(file, packed, target, min(_limit(file), shutil.disk_usage(scratch).free))
    except _UNREADABLE as error:
        raise InputError(
            f"{file.shown}: expected a gzip file, but it cannot be read ({error}); export it again"
        ) from None
    return _File(target, file.shown)


def _require_inside(file: _File, names: list[str]) -> None:
    for name in names:
        parts = PurePosixPath(name).parts + PureWindowsPath(name).parts
        if name.startswith("/") or PureWindowsPath(name).drive or ".." in parts:
            raise InputError(
                f"{file.shown}: expected paths inside the zip file; '{name}' leaves it: do not trust this file, ask "
                "for another"
            )


def _limit(file: _File) -> int:
    """Bytes that a packed file may hold."""
    return max(_ALWAYS_ALLOWED, _MOST_GROWTH * file.path.stat().st_size)


def _unpack(file: _File, packed: IO[bytes] | gzip.GzipFile, target: Path, limit: int) -> None:
    """Unpack a stream, and stop where it holds more than it may: what a file says of its own size is no promise."""
    n_bytes = 0
    with target.open("wb") as unpacked:
        while block := packed.read(_BLOCK):
            n_bytes += len(block)
            if n_bytes > limit:
                raise _bomb(file, f"more than {limit / 1e9:.1f} GB")
            unpacked.write(block)


def _bomb(file: _File, size: str) -> InputError:
    packed = file.path.stat().st_size / 1e6
    return InputError(
        f"{file.shown}: unpacks to {size} from {packed:.1f} MB, as no images do; do not trust this file: give the "
        "folder of images instead"
    )


def _require_room(file: _File, n_bytes: int, scratch: Path) -> None:
    free = shutil.disk_usage(scratch).free
    if n_bytes > _limit(file):
        raise _bomb(file, f"{n_bytes / 1e9:.1f} GB")
    if n_bytes > free:
        raise InputError(
            f"{file.shown}: takes {n_bytes / 1e9:.1f} GB unpacked; {free / 1e9:.1f} GB are free in {scratch.parent}; "
            "set TMPDIR to a larger disk"
        )


def _new_name(scratch: Path) -> Path:
    folder = scratch / "unpacked"
    folder.mkdir(exist_ok=True)
    return folder / uuid.uuid4().hex


def _head(file: _File) -> Dataset | None:
    """What is needed of the header; None where the file is no MR image in DICOM form."""
    with file.path.open("rb") as opened:
        opened.seek(_PREAMBLE)
        if opened.read(len(_MAGIC)) != _MAGIC:
            return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that no standard allows, and scanners write all the same
            head = dcmread(file.path, stop_before_pixels=True, specific_tags=list(TAGS))
            # Here, where the file is known: pydicom understands values when they are asked for.
            head.walk(lambda _, element: element.value, recursive=False)
            series_of([(file.path, file.shown)], [head]), person_of([head])
            kind = str(head.file_meta.get("MediaStorageSOPClassUID", ""))
    except Exception as error:  # pydicom lets those of struct, of decoders and of recursion through, as they come
        # A message on a value repeats the value, which may be a name.
        reason = str(error) if isinstance(error, InvalidDicomError | OSError | EOFError) else type(error).__name__
        raise InputError(f"{file.shown}: its DICOM header cannot be read ({reason}); export it again") from None
    if head.get("Modality") == "MR" and "Rows" in head:
        return head
    if kind in _MR_IMAGES or (not kind and "Modality" not in head):
        raise InputError(f"{file.shown}: its DICOM header ends before it tells what the file is; export it again")
    return None


def _require_one_person(heads: list[tuple[_File, Dataset]]) -> None:
    first_file, first = heads[0]
    for file, head in heads:
        if any(head.get(tag) != first.get(tag) for tag in ("PatientID", "PatientName")):
            raise InputError(
                f"{file.shown}: is of another patient than {first_file.shown}; expected the scans of one: convert each "
                "from a folder of its own"
            )
