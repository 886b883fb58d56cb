"""NIfTI files that are damaged, that claim what cannot be, or whose grid no map can be made on."""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from malformed_case import Case
from small_inputs import AFFINE, INVERT, QSM, SHAPE, cut, echo_images, image, phase_of, single_step

TITLE = "NIfTI images"
FIELDS = {"dim": 40, "datatype": 70, "pixdim": 76, "scl_slope": 112, "xyzt_units": 123, "srow_x": 280, "magic": 344}
"""Where in the header of NIfTI-1 a field stands."""
_WHOLE = "expected a whole NIfTI file, but it cannot be read (…)"


def set_field(path: Path, field: str, form: str, *values: Any) -> None:
    """Write values into the header of a NIfTI file, compressed or not."""
    is_packed = path.suffix == ".gz"
    content = bytearray(gzip.decompress(path.read_bytes()) if is_packed else path.read_bytes())
    struct.pack_into(f"<{form}", content, FIELDS[field], *values)
    path.write_bytes(gzip.compress(content, mtime=0) if is_packed else content)


def _header(field: str, form: str, *values: Any, name: str = "phase.nii.gz") -> Any:
    def make(folder: Path) -> None:
        echo_images(folder)
        single_step(folder)
        set_field(folder / name, field, form, *values)

    return make


def _phase(values: np.ndarray, affine: np.ndarray = AFFINE) -> Any:
    def make(folder: Path) -> None:
        echo_images(folder)
        image(folder / "phase.nii.gz", values, affine)

    return make


def _field(affine: np.ndarray) -> Any:
    """A field and its mask on a grid."""

    def make(folder: Path) -> None:
        image(folder / "field.nii.gz", phase_of(*SHAPE), affine)
        image(folder / "mask.nii.gz", np.ones(SHAPE, np.uint8), affine)

    return make


def _spoilt(spoil: Any) -> Any:
    """Echo images whose phase file is spoilt."""

    def make(folder: Path) -> None:
        echo_images(folder)
        spoil(folder / "phase.nii.gz")

    return make


def _as_plain(path: Path) -> Path:
    plain = path.with_suffix("")
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    return plain


def _to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _to_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _wrong_checksum(path: Path) -> None:
    """One value of the image is another than when the file was packed."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    right = gzip.compress(content, mtime=0)
    content[400] ^= 0x40
    path.write_bytes(gzip.compress(content, mtime=0)[:-8] + right[-8:])


def _of_format(path: Path) -> None:
    """The phase in the format of FreeSurfer under the name of a NIfTI file."""
    other = path.with_name("phase.mgz")
    nib.MGHImage(phase_of(*SHAPE, 3), AFFINE).to_filename(other)


def _sheared(degrees: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[0, 1] = affine[1, 1] * np.tan(np.radians(degrees))
    return affine


def _with_column(column: list[float]) -> np.ndarray:
    affine = AFFINE.copy()
    affine[:3, 1] = column
    return affine


def _rgb(path: Path) -> None:
    values = np.zeros(SHAPE, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    nib.Nifti1Image(values, AFFINE).to_filename(path)


def _two_grids(folder: Path, *, shape: tuple[int, ...] = SHAPE, affine: np.ndarray = AFFINE) -> None:
    single_step(folder)
    image(folder / "mask.nii.gz", np.ones(shape, np.uint8), affine)


def _ramp(first: float, last: float) -> np.ndarray:
    return np.linspace(first, last, math.prod(SHAPE), dtype=np.float32).reshape(SHAPE)


_PLAIN = QSM.replace("phase.nii.gz", "phase.nii")
_FLIPPED = np.diag([-1.6, 1.6, 2.0, 1.0])

CASES = (
    Case("missing", "a file that is not there", lambda f: echo_images(f) or (f / "phase.nii.gz").unlink(), QSM,
         "IN/phase.nii.gz: there is no such file"),
    Case("folder", "a folder where a file is expected", _spoilt(_to_folder), QSM,
         "IN/phase.nii.gz: is a folder; expected a file"),
    Case("link_loop", "a symbolic link to itself", _spoilt(_to_loop), QSM,
         "IN/phase.nii.gz: is a symbolic link that leads to no file; expected a file"),
    Case("empty", "an empty file", _spoilt(lambda p: p.write_bytes(b"")), QSM,
         "IN/phase.nii.gz: is empty; expected a NIfTI file: copy it again"),
    Case("text", "text in the place of an image", _spoilt(lambda p: p.write_text("The scanner was busy.\n" * 99)), QSM,
         f"IN/phase.nii.gz: {_WHOLE}"),
    Case("gzip_cut", "a compressed file that is cut short", _spoilt(cut), QSM, f"IN/phase.nii.gz: {_WHOLE}"),
    Case("gzip_checksum", "a compressed file with a flipped bit", _spoilt(_wrong_checksum), QSM,
         f"IN/phase.nii.gz: {_WHOLE}"),
    Case("plain_cut", "an uncompressed file that is cut short", _spoilt(lambda p: cut(_as_plain(p))), _PLAIN,
         "IN/phase.nii: its header declares 10 x 9 x 8 x 3 values, 8640 bytes, which 4496 bytes cannot hold; it is "
         "cut off or damaged: copy it again"),
    Case("other_format", "an image of another format", _spoilt(_of_format), QSM.replace("phase.nii.gz", "phase.mgz"),
         "IN/phase.mgz: expected a NIfTI file, whose name ends with .nii or .nii.gz; convert it to NIfTI"),
    Case("absurd_size", "a header of 32767 x 32767 x 32767 voxels", _header("dim", "4h", 3, 32767, 32767, 32767), QSM,
         "IN/phase.nii.gz: its header declares 32767 x 32767 x 32767 values, 140724603846652 bytes, which … "
         "compressed bytes cannot hold; it is cut off or damaged: copy it again", pain=18),
    Case("absurd_size_plain", "the same, uncompressed",
         _spoilt(lambda p: set_field(_as_plain(p), "dim", "4h", 3, 32767, 32767, 32767)), _PLAIN,
         "IN/phase.nii: its header declares 32767 x 32767 x 32767 values, 140724603846652 bytes, which 8992 bytes "
         "cannot hold; it is cut off or damaged: copy it again", pain=18),
    Case("negative_dimension", "a negative number of voxels", _header("dim", "4h", 3, -10, 9, 8), QSM,
         "IN/phase.nii.gz: its header declares the shape (-10, 9, 8); expected one voxel or more on each axis"),
    Case("no_voxels", "an axis without voxels", _header("dim", "4h", 3, 10, 0, 8), QSM,
         "IN/phase.nii.gz: its header declares the shape (10, 0, 8); expected one voxel or more on each axis"),
    Case("two_axes", "an image of two axes", _phase(phase_of(10, 9)), QSM,
         "IN/phase.nii.gz: expected 3 to 5 axes (x, y, z[, echo[, coil]]); got shape (10, 9)"),
    Case("six_axes", "an image of six axes", _phase(phase_of(10, 9, 8, 3, 1, 2)), QSM,
         "IN/phase.nii.gz: expected 3 to 5 axes (x, y, z[, echo[, coil]]); got shape (10, 9, 8, 3, 1, 2)"),
    Case("unknown_type", "a data type that no standard has", _header("datatype", "h", 4242), QSM,
         "IN/phase.nii.gz: expected a whole NIfTI file, but it cannot be read (…)"),
    Case("colours", "an image of colours", _spoilt(_rgb), QSM,
         "IN/phase.nii.gz: holds colours or records ([('R', 'u1'), ('G', 'u1'), ('B', 'u1')]); expected one real "
         "number a voxel"),
    Case("complex", "complex numbers in the place of phase", _phase(np.ones((*SHAPE, 3), np.complex64)), QSM,
         "IN/phase.nii.gz: holds complex numbers (complex64); expected one real number a voxel: give real and "
         "imaginary parts, or magnitude and phase, as two files", pain=20),
    Case("zero_edge", "a voxel edge of zero", _header("srow_x", "12f", 0, 0, 0, 0, 0, 1.6, 0, 0, 0, 0, 2, 0), QSM,
         "IN/phase.nii.gz: the affine has a voxel edge of 0.0 mm; expected three edges above zero"),
    Case("nan_affine", "a position that is no number", _header("srow_x", "4f", 1.6, 0, 0, float("nan")), QSM,
         "IN/phase.nii.gz: the affine holds values that are not finite; expected voxel edges and positions in mm"),
    Case("infinite_affine", "an infinite voxel edge", _header("srow_x", "4f", float("inf"), 0, 0, 0), QSM,
         "IN/phase.nii.gz: the affine holds values that are not finite; expected voxel edges and positions in mm"),
    Case("denormal_edge", "a voxel edge of 1e-40 mm", _header("srow_x", "f", 1e-40), QSM,
         "IN/phase.nii.gz: its voxel edges are 1e-40 x 1.6 x 2 mm; expected 0.005 to 100 mm: correct the affine in "
         "its header"),
    Case("sheared", "axes that are 15 degrees off a right angle", _field(_sheared(15)), INVERT,
         "IN/field.nii.gz: its axes are sheared, 15.0 degrees off a right angle; expected axes at right angles, as "
         "scanned: resample it to such a grid", pain=7),
    Case("flat", "two axes of one direction", _field(_with_column([1.6, 0.0, 0.0])), INVERT,
         "IN/field.nii.gz: its axes are sheared, 90.0 degrees off a right angle; expected axes at right angles, as "
         "scanned: resample it to such a grid"),
    Case("metres", "a header in metres", _header("xyzt_units", "b", 1), QSM,
         "IN/phase.nii.gz: its header gives lengths in metres; expected millimetres: correct xyzt_units and the "
         "affine"),
    Case("tiny_voxels", "voxels of a thousandth of a millimetre", _field(np.diag([1.6e-3, 1.6e-3, 2e-3, 1.0])), INVERT,
         "IN/field.nii.gz: its voxel edges are 0.0016 x 0.0016 x 0.002 mm; expected 0.005 to 100 mm: correct the "
         "affine in its header"),
    Case("flipped_axis", "a mask with an axis flipped", lambda f: _two_grids(f, affine=_FLIPPED), INVERT,
         "IN/mask.nii.gz: its affine puts voxels up to 29 mm away from those of IN/field.nii.gz; expected the same "
         "grid: resample it first", pain=7),
    Case("other_shape", "a mask of another shape", lambda f: _two_grids(f, shape=(10, 9, 7)), INVERT,
         "IN/mask.nii.gz: has shape (10, 9, 7); expected (10, 9, 8), the shape of IN/field.nii.gz", pain=8),
    Case("empty_mask", "a mask without a voxel inside",
         lambda f: single_step(f) or image(f / "mask.nii.gz", np.zeros(SHAPE, np.uint8)), INVERT,
         "IN/mask.nii.gz: is zero in every voxel; expected a mask, non-zero inside", pain=9),
    Case("empty_mask_of_images", "a brain mask without a voxel inside, beside echo images",
         lambda f: echo_images(f) or image(f / "mask.nii.gz", np.zeros(SHAPE, np.uint8)),
         f"{QSM} --mask IN/mask.nii.gz",
         "IN/mask.nii.gz: is zero in every voxel; expected a mask, non-zero inside"),
    Case("empty_reference", "a region of reference without a voxel",
         lambda f: echo_images(f) or image(f / "csf.nii.gz", np.zeros(SHAPE, np.uint8)),
         f"{QSM} --reference IN/csf.nii.gz",
         "IN/csf.nii.gz: is zero in every voxel; expected a mask, non-zero inside"),
    Case("map_as_mask", "a map in the place of the mask",
         lambda f: single_step(f) or image(f / "mask.nii.gz", _ramp(-0.5, 1.0)), INVERT,
         "IN/mask.nii.gz: expected a mask, zero outside and one value inside; it holds values below zero, down to "
         "-0.5, as a map does"),
    Case("probability_as_mask", "a probability in the place of the mask",
         lambda f: single_step(f) or image(f / "mask.nii.gz", _ramp(0.25, 1.0)), INVERT,
         "IN/mask.nii.gz: expected a mask, zero outside and one value inside; it holds values from 0.25 to 1, as a "
         "probability does: choose a threshold for it"),
    Case("magnitude_as_mask", "a magnitude in the place of the mask",
         lambda f: single_step(f) or image(f / "mask.nii.gz", _ramp(2.0, 900.0)), INVERT,
         "IN/mask.nii.gz: expected a mask, zero outside and one value inside; it holds values from 2 to 900 and no "
         "zero, as an image does"),
    Case("field_not_finite", "a field that is NaN everywhere",
         lambda f: single_step(f) or image(f / "field.nii.gz", np.full(SHAPE, np.nan, np.float32)), INVERT,
         "IN/mask.nii.gz: is empty where IN/field.nii.gz is finite; expected voxels inside"),
    Case("noise_infinite", "infinite noise",
         lambda f: single_step(f) or image(f / "noise.nii.gz", np.full(SHAPE, np.inf, np.float32)),
         f"{INVERT} --noise IN/noise.nii.gz",
         "IN/noise.nii.gz: holds 720 values that are not finite; mask or replace them first"),
    Case("noise_negative", "negative noise",
         lambda f: single_step(f) or image(f / "noise.nii.gz", np.full(SHAPE, -1.0, np.float32)),
         f"{INVERT} --noise IN/noise.nii.gz",
         "the noise map has no voxel inside the mask that is finite and above zero"),
    Case("no_nifti_name", "a result that is not named as NIfTI", single_step,
         INVERT.replace("OUT.nii.gz", "OUT.txt"),
         "OUT.txt: expected a name that ends with .nii.gz or .nii for a NIfTI file"),
)  # fmt: skip
