"""DICOM as scanners, archives and people hand it over."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path
from typing import Any

from malformed_case import Case
from small_inputs import CONVERT, dicom, write_text

from made_dicom import MadeSeries, both, stored_magnitude, write_classic, write_enhanced

TITLE = "DICOM"
_ZIP = CONVERT.replace("IN/dicom", "IN/scans.zip")


def _zip(**members: bytes) -> Any:
    def make(folder: Path) -> None:
        with zipfile.ZipFile(folder / "scans.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name.replace("__", "../"), content)

    return make


def _bomb(folder: Path) -> None:
    """A zip file whose directory promises 4 GB a member of 200 bytes, a thousand times."""
    path = folder / "scans.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(1000):
            archive.writestr(f"{number:04d}", b"x" * 100)
    content = path.read_bytes()
    start = content.index(b"PK\x01\x02")
    parts = content[start:].split(b"PK\x01\x02")
    directory = b"PK\x01\x02".join(p[:20] + b"\xfe\xff\xff\xff" + p[24:] if len(p) > 24 else p for p in parts)
    path.write_bytes(content[:start] + directory)


def _cut_header(folder: Path) -> None:
    path = dicom(folder)[0]
    path.write_bytes(path.read_bytes()[:300])


def _bad_number(folder: Path) -> None:
    """A whole number that holds letters."""
    path = dicom(folder)[0]
    content = path.read_bytes()
    at = content.index(b"\x20\x00\x11\x00IS") + 8
    path.write_bytes(content[:at] + b"x " + content[at + 2 :])


def _unknown_kind(folder: Path) -> None:
    """A value of a kind that DICOM has not."""
    path = dicom(folder)[0]
    content = path.read_bytes()
    at = content.index(b"\x08\x00\x60\x00CS") + 4
    path.write_bytes(content[:at] + b"C0" + content[at + 2 :])


def _two_people(folder: Path) -> None:
    dicom(folder)
    write_classic(folder / "dicom/other", MadeSeries(parts=both(2), patient="Roe^Richard", number=6))


def _without_slice(folder: Path) -> None:
    """A slice of all echoes is lost."""
    for path in [p for n, p in enumerate(dicom(folder)) if n % 6 == 3]:
        path.unlink()


def _mixed(folder: Path) -> None:
    write_enhanced(
        folder / "dicom", MadeSeries(parts=both(2), echo_times_ms=(4.0, 8.0)), component={"M": "MIXED", "P": "MIXED"}
    )


CASES = (
    Case("dicom_missing", "DICOM that is not there", lambda f: None, CONVERT,
         "IN/dicom: there is no such file or folder; expected DICOM files, a zip file or raw data"),
    Case("dicom_empty", "an empty folder", lambda f: (f / "dicom").mkdir(), CONVERT,
         "IN/dicom: expected MR images in DICOM form; none of its 0 files is one: give the folder or zip file that the "
         "scanner exported"),
    Case("dicom_text", "a folder of other files", lambda f: write_text(f / "dicom/notes.txt", "busy"), CONVERT,
         "IN/dicom: expected MR images in DICOM form; none of its 1 files is one: give the folder or zip file that the "
         "scanner exported"),
    Case("dicom_loop", "a folder that holds a link to itself",
         lambda f: (f / "dicom").mkdir() or (f / "dicom/again").symlink_to(f / "dicom"), CONVERT,
         "IN/dicom: expected MR images in DICOM form; none of its 0 files is one: give the folder or zip file that "
         "the scanner exported"),
    Case("dicom_cut", "a header that is cut short", _cut_header, CONVERT,
         "IN/dicom/IM0050000: its DICOM header ends before it tells what the file is; export it again"),
    Case("dicom_number", "a number that holds letters", _bad_number, CONVERT,
         "IN/dicom/IM0050000: its DICOM header cannot be read (…); export it again"),
    Case("dicom_kind", "a value of a kind that DICOM has not", _unknown_kind, CONVERT,
         "IN/dicom/IM0050000: its DICOM header cannot be read (…); export it again"),
    Case("dicom_two_people", "the scans of two people", _two_people, CONVERT,
         "IN/dicom/other/IM0060000: is of another patient than IN/dicom/IM0050000; expected the scans of one: convert "
         "each from a folder of its own"),
    Case("dicom_zip_damaged", "a zip file that is none", lambda f: write_text(f / "scans.zip", "busy"), _ZIP,
         "IN/scans.zip: expected a zip file, but it cannot be read (…); pack it again, or give the folder"),
    Case("dicom_zip_leaves", "a zip file whose paths leave it", _zip(____etc=b"x"), _ZIP,
         "IN/scans.zip: expected paths inside the zip file; '../../etc' leaves it: do not trust this file, ask for "
         "another"),
    Case("dicom_zip_bomb", "a zip file that promises 4 TB", _bomb, _ZIP,
         "IN/scans.zip: unpacks to 4295.0 GB from … MB, as no images do; do not trust this file: give the folder of "
         "images instead", pain=18),
    Case("dicom_gzip_cut", "a compressed file that is cut short",
         lambda f: (f / "dicom").mkdir() or (f / "dicom/a.gz").write_bytes(gzip.compress(b"x" * 9999)[:-9]), CONVERT,
         "IN/dicom/a.gz: expected a gzip file, but it cannot be read (…); export it again"),
    Case("dicom_magnitude", "magnitude without phase",
         lambda f: dicom(f, parts={"M": stored_magnitude(2)}), CONVERT,
         "IN/dicom: expected magnitude and phase images; found only magnitude images: let the scanner save and export "
         "the phase too", pain=20),
    Case("dicom_one_echo", "one echo", lambda f: dicom(f, parts=both(1), echo_times_ms=(4.0,)), CONVERT,
         "IN/dicom/IM0050000: series 5 'gre_qsm' holds one echo; expected two or more of a multi-echo scan: choose "
         "with --series, or use dlqsm qsm on the images", pain=5),
    Case("dicom_mixed", "frames that do not tell magnitude from phase", _mixed, CONVERT,
         "IN/dicom/enhanced5.dcm: series 5 'gre_qsm' holds MIXED images, and its headers do not tell which are "
         "magnitude and which are phase; expected them apart: export them as separate images or series, or leave it "
         "out with --series", pain=10),
    Case("dicom_missing_slice", "a slice that is missing", _without_slice, CONVERT,
         "IN/dicom/IM0050000: slices of series 5 'gre_qsm' are missing, by dcm2niix; expected the whole series: "
         "export it again, or leave it out with --series", pain=8),
    Case("dicom_unit", "phase whose scaling nothing tells", lambda f: dicom(f, vendor="UIH"), CONVERT,
         "IN/dicom/IM0050000: series 5 'gre_qsm': neither the header nor a sidecar says in what unit the phase is "
         "stored (it spans 1 to 4088); give --phase-unit rad, mrad, siemens or range:LO:HI", pain=1),
    Case("dicom_series", "a series that is not there", dicom, f"{CONVERT} --series 99",
         "IN/dicom: holds no series 99; --series can be of 5", pain=23),
    Case("dicom_label_path", "a participant named ../x", dicom, f"{CONVERT} --participant-label ../../x",
         "--participant-label must be letters and digits only, as BIDS demands; got '../../x'"),
    Case("dicom_acq_path", "an arm named a/b", dicom, f"{CONVERT} --acq a/b",
         "--acq must be letters and digits only, as BIDS demands; got 'a/b'"),
    Case("dicom_onto_file", "results into a file",
         lambda f: dicom(f) and write_text(f / "file", "text"), CONVERT.replace("OUT", "IN/file"),
         "IN/file: expected the folder of a BIDS dataset; this is a file"),
)  # fmt: skip
