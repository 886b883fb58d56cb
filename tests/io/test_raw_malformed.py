"""ISMRMRD files that cannot be used are refused, each with its sentence."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from ismrmrd import xsd
from raw_fixtures import rewrite, small_raw, written

from dlqsm.core.checks import InputError
from dlqsm.core.raw import MemoryRaw
from dlqsm.io.raw import read_raw, write_raw

N_NOISE = 1


def set_head(name: str, value: object, where: slice = slice(N_NOISE, None)):
    def change(data: np.ndarray) -> np.ndarray:
        data["head"][name][where] = value
        return data

    return change


def set_index(name: str, value: object, where: slice = slice(N_NOISE, None)):
    def change(data: np.ndarray) -> np.ndarray:
        data["head"]["idx"][name][where] = value
        return data

    return change


def with_nan(data: np.ndarray) -> np.ndarray:
    data["data"][9][4] = np.nan
    return data


def other_coils(data: np.ndarray) -> np.ndarray:
    data["head"]["active_channels"][5] = 2
    return data


def shortened(data: np.ndarray) -> np.ndarray:
    data["data"][9] = data["data"][9][:-2]
    return data


MALFORMED = {
    "missing echo": (lambda data: np.delete(data, 8), None, "readouts of echo"),
    "doubled line": (lambda data: np.concatenate([data, data[-1:]]), None, "has 2 readouts of echo"),
    "index outside limits": (set_index("kspace_encode_step_2", 9, slice(3, 5)), None, "outside the encoding limits"),
    "coils change": (other_coils, None, "number of coils changes from 2 to 3"),
    "samples change": (set_head("number_of_samples", 18, slice(5, 6)), None, "number of samples changes"),
    "slices": (set_index("slice", 1, slice(3, 5)), None, "slices of 2-D data"),
    "repetitions": (set_index("repetition", 1, slice(3, 5)), None, "2 values of 'repetition'"),
    "moved slab": (set_head("position", 3.0, slice(3, 5)), None, "'position' changes"),
    "noise only": (lambda data: data[:N_NOISE], None, "no imaging acquisitions"),
    "no calibration": (
        lambda data: data[(data["head"]["idx"]["kspace_encode_step_1"] % 2 == 0)],
        None,
        "no calibration region: at least 6 x 6",
    ),
    "spiral": (None, lambda h: setattr(h.encoding[0], "trajectory", xsd.trajectoryType.SPIRAL), "only Cartesian"),
    "2-D": (None, lambda h: setattr(h.encoding[0].encodedSpace.matrixSize, "z", 1), "fit into 1 encoded lines"),
    "no encoding": (None, lambda h: h.encoding.clear(), "no encoding"),
    "echo times": (None, lambda h: h.sequenceParameters.TE.append(15.0), "3 echo times, its acquisitions hold 2"),
    "unsorted": (None, lambda h: h.sequenceParameters.TE.reverse(), "must ascend"),
    "microseconds": (None, lambda h: setattr(h.sequenceParameters, "TE", [4000.0, 9500.0]), "in milliseconds"),
    "phase sign": (
        None,
        lambda h: setattr(h.userParameters.userParameterString[0], "value", "exp(-i)"),
        "phase convention is 'exp",
    ),
    "too few lines encoded": (
        None,
        lambda h: setattr(h.encoding[0].encodedSpace.matrixSize, "y", 8),
        "does not fit into 8 encoded lines",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_file_is_refused_with_its_sentence(tmp_path: Path, case: str):
    records, xml, sentence = MALFORMED[case]
    path = rewrite(written(tmp_path), tmp_path / "bad.h5", records, xml)
    with pytest.raises(InputError, match=sentence) as caught:
        read_raw(path)
    assert "\n" not in str(caught.value) and "bad.h5" in str(caught.value)


@pytest.mark.parametrize(("damage", "sentence"), [(with_nan, "not finite"), (shortened, "the file is damaged")])
def test_damaged_samples_are_refused_when_they_are_read(tmp_path: Path, damage, sentence: str):
    raw = read_raw(rewrite(written(tmp_path), tmp_path / "bad.h5", damage))
    with pytest.raises(InputError, match=f"acquisition 9 holds .*{sentence}"):
        raw.readouts(0, 10)


def test_noise_that_is_not_finite_is_refused(tmp_path: Path):
    def spoil(data: np.ndarray) -> np.ndarray:
        data["data"][0][3] = np.inf
        return data

    with pytest.raises(InputError, match="noise scan holds samples that are not finite"):
        read_raw(rewrite(written(tmp_path), tmp_path / "bad.h5", spoil))


def test_files_of_another_kind_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        read_raw(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(InputError, match="not an HDF5 file"):
        read_raw(tmp_path / "text.h5")
    whole = written(tmp_path)
    (tmp_path / "half.h5").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(InputError, match="is an HDF5 file that is cut off or damaged"):
        read_raw(tmp_path / "half.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["images/data"] = np.zeros(3)
    with pytest.raises(InputError, match="HDF5 but not ISMRMRD"):
        read_raw(tmp_path / "other.h5")
    with h5py.File(tmp_path / "fields.h5", "w") as file:
        file["dataset/data"], file["dataset/xml"] = np.zeros(3), [b"<xml/>"]
    with pytest.raises(InputError, match="fields of ISMRMRD"):
        read_raw(tmp_path / "fields.h5")
    path = rewrite(written(tmp_path), tmp_path / "xml.h5")
    with h5py.File(path, "a") as file:
        file["dataset/xml"][0] = b"<other/>"
    with pytest.raises(InputError, match="does not follow the ISMRMRD schema"):
        read_raw(path)


def test_a_grid_beyond_sixteen_bits_is_refused(tmp_path: Path):
    raw = small_raw()
    with pytest.raises(InputError, match="16 bits"):
        write_raw(tmp_path / "big.h5", MemoryRaw(replace(raw.header, n_readout=70000), raw.samples))
