"""Raw data: ISMRMRD, what dlqsm recon leaves, and Siemens twix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from malformed_case import Case
from raw_fixtures import rewrite
from small_inputs import QSM_OF_RECON, RECON, SHAPE, TWIX, cut, raw, recon, twix, write_text

from made_twix import all_lines, point_readouts, write_made_twix

TITLE = "Raw data"
_BOMB = '<!DOCTYPE x [<!ENTITY a "lol">' + "".join(
    f'<!ENTITY {b} "{10 * f"&{a};"}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True)
) + "]><x>&j;</x>"  # fmt: skip


def _records(change: Any) -> Any:
    """Raw data with their acquisitions changed."""

    def make(folder: Path) -> None:
        raw(folder).rename(folder / "whole.h5")
        rewrite(folder / "whole.h5", folder / "raw.h5", records=change)

    return make


def _heads(**changes: Any) -> Any:
    """The same value in the headers of all acquisitions."""

    def change(data: np.ndarray) -> np.ndarray:
        for name, value in changes.items():
            data["head"][name] = value
        return data

    return _records(change)


def _counter(name: str, value: int) -> Any:
    """One counter of the last acquisition."""

    def change(data: np.ndarray) -> np.ndarray:
        data["head"]["idx"][name][-1] = value
        return data

    return _records(change)


def _xml(change: Any) -> Any:
    """Raw data with their XML header changed."""

    def make(folder: Path) -> None:
        raw(folder).rename(folder / "whole.h5")
        rewrite(folder / "whole.h5", folder / "raw.h5", xml=change)

    return make


def _text(change: Any) -> Any:
    """Raw data with the text of the XML header changed."""

    def make(folder: Path) -> None:
        with h5py.File(raw(folder), "r+") as file:
            file["dataset/xml"][0] = change(file["dataset/xml"][0].decode()).encode()

    return make


def _replaced(old: str, new: str) -> Any:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return _text(change)


def _encoded(part: str, **values: Any) -> Any:
    """The encoded space in the XML header, changed."""

    def change(header: Any) -> None:
        for name, value in values.items():
            setattr(getattr(header.encoding[0].encodedSpace, part), name, value)

    return _xml(change)


def _times(*times_ms: float) -> Any:
    return _xml(lambda header: setattr(header.sequenceParameters, "TE", list(times_ms)))


def _megahertz(header: Any) -> None:
    header.experimentalConditions.H1resonanceFrequency_Hz = 123


def _not_finite(data: np.ndarray) -> np.ndarray:
    row = data[len(data) // 2]
    row["data"] = np.full_like(row["data"], np.nan)
    return data


def _without_line(data: np.ndarray) -> np.ndarray:
    return np.delete(data, len(data) // 2)


def _outer_lines(data: np.ndarray) -> np.ndarray:
    """Every second line of the outer part of k-space only."""
    return data[data["head"]["idx"]["kspace_encode_step_1"] < 4]


def _declared(folder: Path) -> None:
    """Far more acquisitions than are stored."""
    path = raw(folder)
    with h5py.File(path, "r+") as file:
        kind, xml = file["dataset/data"].dtype, file["dataset/xml"][0]
        del file["dataset"]
        file.create_dataset("dataset/data", shape=(2**40,), dtype=kind, chunks=(16,))
        file.create_dataset("dataset/xml", (1,), dtype=h5py.special_dtype(vlen=bytes))[0] = xml


def _hdf5(folder: Path) -> None:
    with h5py.File(folder / "raw.h5", "w") as file:
        file["image"] = np.zeros((4, 4))


def _mdi(change: Any) -> Any:
    """Lag sums of dlqsm recon, changed."""

    def make(folder: Path) -> None:
        with h5py.File(recon(folder) / "mdi.h5", "r+") as file:
            change(file)

    return make


def _put(name: str, values: Any) -> Any:
    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file[name] = values

    return _mdi(change)


def _absurd(file: h5py.File) -> None:
    del file["power"]
    file.create_dataset("power", shape=(3, 10**5, 10**5, 10**5), dtype="f4", chunks=(1, 8, 8, 8))


def _group(file: h5py.File) -> None:
    file.move("power", "old")
    file.create_group("power")


def _twix(**changes: Any) -> Any:
    return lambda folder: write_made_twix(folder / "meas.dat", all_lines(point_readouts((2.0, -3.0, 4.0))), **changes)


_EXPECTED = "expected raw data in ISMRMRD form (.h5)"

CASES = (
    Case("raw_missing", "raw data that are not there", lambda f: None, RECON,
         f"IN/raw.h5: there is no such file; {_EXPECTED}"),
    Case("raw_folder", "a folder in the place of raw data", lambda f: (f / "raw.h5").mkdir(), RECON,
         f"IN/raw.h5: is a folder; {_EXPECTED}"),
    Case("raw_empty", "an empty file", lambda f: (f / "raw.h5").touch(), RECON,
         f"IN/raw.h5: is not an HDF5 file; {_EXPECTED}"),
    Case("raw_cut", "a file that is cut short", lambda f: cut(raw(f)), RECON,
         "IN/raw.h5: is an HDF5 file that is cut off or damaged; copy or export it again"),
    Case("raw_text", "text in the place of raw data", lambda f: write_text(f / "raw.h5", "busy\n" * 99), RECON,
         f"IN/raw.h5: is not an HDF5 file; {_EXPECTED}"),
    Case("raw_hdf5", "HDF5 of another kind", _hdf5, RECON,
         "IN/raw.h5: is HDF5 but not ISMRMRD: no group holds both 'xml' and 'data'"),
    Case("raw_declared", "2^40 acquisitions in the header", _declared, RECON,
         "IN/raw.h5: 'dataset/data' is declared with 1099511627776 values, 409018325532672 bytes, but no more than 0 "
         "are stored; it is damaged: copy or make it again", pain=18),
    Case("raw_not_xml", "a header that is no XML", _text(lambda _: "TE = 4 ms"), RECON,
         "IN/raw.h5: its header is no XML, or does not follow the ISMRMRD schema (…)"),
    Case("raw_xml_bomb", "XML that grows a billionfold", _text(lambda _: _BOMB), RECON,
         "IN/raw.h5: its XML header declares a document type; no header of ISMRMRD does: do not trust this file, "
         "convert the scan again"),
    Case("raw_radial", "radial data", _replaced("cartesian", "radial"), RECON,
         "IN/raw.h5: its trajectory is 'radial'; only Cartesian data can be reconstructed"),
    Case("raw_zero_matrix", "a matrix of zero", _encoded("matrixSize", x=0), RECON,
         "IN/raw.h5: its encoded matrix 0 x 14 x 9 or field of view is not above zero"),
    Case("raw_nan_fov", "a field of view that is no number", _encoded("fieldOfView_mm", x=float("nan")), RECON,
         "IN/raw.h5: its XML header gives nan in fieldOfView_mm; expected a number"),
    Case("raw_word_matrix", "a matrix in words", _encoded("matrixSize", y="fourteen"), RECON,
         "IN/raw.h5: its XML header gives 'fourteen' in encodedSpace/matrixSize; expected a number"),
    Case("raw_absurd_matrix", "a matrix of 60000 x 60000 lines", _encoded("matrixSize", y=60000, z=60000),
         RECON,
         "IN/raw.h5: its header encodes 60000 x 60000 lines, and its acquisitions fill 84 of them; correct "
         "encodedSpace", pain=18),
    Case("raw_huge_matrix", "a matrix beyond what the format can count", _encoded("matrixSize", y=10**9),
         RECON,
         "IN/raw.h5: its encoded matrix 20 x 1000000000 x 9 is larger than the 65535 that ISMRMRD can count; correct "
         "encodedSpace", pain=18),
    Case("raw_te_seconds", "echo times in seconds", _times(0.004, 0.0095), RECON,
         "IN/raw.h5: sequenceParameters/TE must be in milliseconds: the longest is 9.5e-06 s", pain=8),
    Case("raw_te_order", "echo times out of order", _times(9.5, 4.0), RECON,
         "IN/raw.h5: sequenceParameters/TE must be in milliseconds: echo times must ascend; got [0.0095, 0.004] "
         "s", pain=8),
    Case("raw_te_many", "more echo times than echoes", _times(4.0, 9.5, 14.0), RECON,
         "IN/raw.h5: its header gives 3 echo times, its acquisitions hold 2 echoes (contrasts); correct "
         "sequenceParameters/TE", pain=8),
    Case("raw_megahertz", "a resonance frequency in megahertz", _xml(_megahertz), RECON,
         "IN/raw.h5: field strength 2.88885e-06 T is outside 0.001 to 30 T; give it in tesla; correct its XML "
         "header"),
    Case("raw_phase_sign", "a phase of the other convention", _replaced("exp(+i 2 pi", "exp(-i 2 pi"), RECON,
         "IN/raw.h5: its phase convention is 'signal ~ exp(-i 2 pi f TE)'; expected 'signal ~ exp(+i 2 pi f TE)': take "
         "the complex conjugate of the images, or correct the header", pain=6),
    Case("raw_slices", "2-D slices", _counter("slice", 3), RECON,
         "IN/raw.h5: holds 4 slices of 2-D data; only 3-D data of one slab can be used", pain=21),
    Case("raw_repetitions", "two repetitions", _counter("repetition", 1), RECON,
         "IN/raw.h5: holds 2 values of 'repetition'; write each into a file of its own"),
    Case("raw_beyond_limits", "a line beyond the encoding limits", _counter("kspace_encode_step_1", 99), RECON,
         "IN/raw.h5: kspace_encode_step_1 runs from 0 to 99, outside the encoding limits 0 to 13 of its "
         "header", pain=21),
    Case("raw_echo_counter", "an echo counter of 60000", _counter("contrast", 60000), RECON,
         "IN/raw.h5: its counters reach 60001 echoes and 1 averages of 84 lines, 5040084 readouts; it holds 168: "
         "correct the counters or convert the file again", pain=18),
    Case("raw_missing_line", "an echo of one line missing", _records(_without_line), RECON,
         "IN/raw.h5: line (ky 12, kz 4) has 0 readouts of echo 2; expected 1 for each of 2 echoes of every line (1 "
         "lines differ)", pain=8),
    Case("raw_coils", "a change of the number of coils", _records(lambda d: _with_coils(d)), RECON,
         "IN/raw.h5: the number of coils changes from 2 to 3 between acquisitions; expected the same in all", pain=3),
    Case("raw_many_coils", "65535 coils in the headers", _heads(active_channels=65535), RECON,
         "IN/raw.h5: its acquisitions declare 1761580800 bytes of samples; the file has 182308: it is cut off or "
         "damaged, copy or export it again", pain=18),
    Case("raw_discard", "more samples discarded than read", _heads(discard_pre=4000), RECON,
         "IN/raw.h5: its readouts of 20 samples discard 4000 before and 0 behind, and have their centre at 10; the "
         "acquisition headers are damaged: convert the file again"),
    Case("raw_not_finite", "samples that are no numbers", _records(_not_finite), RECON,
         "IN/raw.h5: acquisition 84 holds samples that are not finite; export the raw data again"),
    Case("raw_position_nan", "a position that is no number", _heads(position=np.nan), RECON,
         "IN/raw.h5: position and directions of its acquisitions: the affine holds values that are not finite; "
         "expected voxel edges and positions in mm", pain=7),
    Case("raw_noise_only", "nothing but noise", _heads(flags=1 << 18), RECON,
         "IN/raw.h5: holds no imaging acquisitions; only noise or navigators were found", pain=21),
    Case("raw_no_centre", "no calibration region", _records(_outer_lines), RECON,
         "IN/raw.h5 has no calibration region: at least 6 x 6 fully sampled lines round the k-space centre are "
         "needed for the coil sensitivities; acquire with calibration lines, or add them to the file", pain=21),
    Case("mdi_missing", "a folder that dlqsm recon did not write", lambda f: (f / "recon").mkdir(), QSM_OF_RECON,
         "IN/recon/mdi.h5: there is no such file; expected lag sums written by dlqsm recon"),
    Case("mdi_cut", "lag sums that are cut short", lambda f: cut(recon(f) / "mdi.h5"), QSM_OF_RECON,
         "IN/recon/mdi.h5: expected lag sums written by dlqsm recon, but it cannot be read (…); copy or make it again"),
    Case("mdi_lags", "as many lags as echoes", _put("lags", np.ones((3, *SHAPE), np.complex64)), QSM_OF_RECON,
         "IN/recon/mdi.h5: lags have shape (3, 10, 9, 8) and power (3, 10, 9, 8); expected one lag less than echoes"),
    Case("mdi_real", "lags without phase", _put("lags", np.ones((2, *SHAPE), np.float32)), QSM_OF_RECON,
         "IN/recon/mdi.h5: expected an array 'lags' of 4 axes; got float32 of shape (2, 10, 9, 8)", pain=20),
    Case("mdi_nan", "lags that are no numbers", _put("lags", np.full((2, *SHAPE), np.nan, np.complex64)), QSM_OF_RECON,
         "IN/recon/mdi.h5: lags holds values that are not finite; make the folder again with dlqsm recon"),
    Case("mdi_absurd", "4 PB of power in the header", _mdi(_absurd), QSM_OF_RECON,
         "IN/recon/mdi.h5: 'power' is declared with 3 x 100000 x 100000 x 100000 values, 12000000000000000 bytes, "
         "but no more than 0 are stored; it is damaged: copy or make it again", pain=18),
    Case("mdi_group", "a group in the place of an array", _mdi(_group), QSM_OF_RECON,
         "IN/recon/mdi.h5: expected an array 'power' of 4 axes; got Group"),
    Case("twix_text", "text in the place of twix", lambda f: write_text(f / "meas.dat", "busy\n" * 99), TWIX,
         "IN/meas.dat: expected Siemens raw data (twix, meas.dat); it does not begin as such a file does"),
    Case("twix_empty", "an empty file", lambda f: (f / "meas.dat").touch(), TWIX,
         "IN/meas.dat: expected Siemens raw data (twix, meas.dat); it does not begin as such a file does"),
    Case("twix_cut", "twix that is cut short", lambda f: cut(twix(f), 0.7), TWIX,
         "IN/meas.dat: ends before the mark of the scan's end: the file is cut short, or the scan was stopped; copy "
         "it from the scanner again"),
    Case("twix_radial", "twix of a radial scan", _twix(trajectory=2), TWIX,
         "IN/meas.dat: its sequence is not Cartesian (trajectory 2); expected a Cartesian gradient-echo scan, read "
         "line by line: use the DICOM images of this scan"),
    Case("twix_epi", "twix of an echo-planar scan", _twix(epi=16), TWIX,
         "IN/meas.dat: its sequence is echo-planar (factor 16); expected a Cartesian gradient-echo scan, read line "
         "by line: use the DICOM images of this scan"),
    Case("twix_slices", "twix of 2-D slices", _twix(dimension=2, slices=3), TWIX,
         "IN/meas.dat: holds 3 slices of 2-D data; expected 3-D data of one slab, which susceptibility needs: use "
         "the DICOM images of this scan"),
    Case("sampling_too_few", "an acceleration that the calibration region does not allow", lambda f: None,
         "sampling OUT --shape 32 32 --acceleration 20 --calibration 16 16",
         "the calibration region has 208 cells, more than the 51 samples of acceleration 20.0; give a smaller region "
         "or accelerate less", pain=19),
)  # fmt: skip


def _with_coils(data: np.ndarray) -> np.ndarray:
    data["head"]["active_channels"][-1] = 2
    return data
