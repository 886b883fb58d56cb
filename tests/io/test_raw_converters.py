"""Raw data as siemens_to_ismrmrd, philips_to_ismrmrd and ge_to_ismrmrd write them, and what each of them leaves out."""

import re
from collections.abc import Callable
from pathlib import Path

import h5py
import ismrmrd
import numpy as np
import pytest
from ismrmrd import xsd
from ismrmrd.hdf5 import acquisition_dtype
from raw_fixtures import rewrite, small_raw, written

from dlqsm.cli import main
from dlqsm.core.checks import InputError
from dlqsm.core.raw import MemoryRaw, ReversedEchoes
from dlqsm.io.raw import read_raw, write_raw


def flag(name: str) -> np.uint64:
    return np.uint64(1 << (getattr(ismrmrd, f"ACQ_{name}") - 1))


def with_text(source: Path, target: Path, change: Callable[[str], str]) -> Path:
    """Copy a raw file with the text of its XML header changed."""
    with h5py.File(source) as old, h5py.File(target, "w") as new:
        new.create_dataset("dataset/data", data=old["dataset/data"][:], dtype=acquisition_dtype)
        text = change(old["dataset/xml"][0].decode())
        new.create_dataset("dataset/xml", (1,), dtype=h5py.special_dtype(vlen=bytes))[0] = text.encode()
    return target


def same_samples(path: Path, raw) -> bool:
    back = read_raw(path)
    return np.array_equal(back.header.lines, raw.header.lines) and np.array_equal(
        back.readouts(0, len(raw.header.lines)), raw.samples
    )


class TestSiemens:
    def test_directions_are_those_of_the_gradients(self, tmp_path: Path) -> None:
        raw = small_raw()

        def vendor(header: xsd.ismrmrdHeader) -> None:
            header.acquisitionSystemInformation.systemVendor = "SIEMENS"

        header = read_raw(rewrite(written(tmp_path, raw), tmp_path / "s.h5", xml=vendor)).header
        assert np.allclose(header.grid.rotation, -np.asarray(raw.header.grid.rotation), atol=1e-6)
        centre = np.array([6, 7, 4, 1.0])
        assert np.allclose(header.grid.affine @ centre, raw.header.grid.affine @ centre, atol=1e-4)
        assert any("count against them" in sentence for sentence in header.missing)

    def test_measurements_in_groups_of_one_file(self, tmp_path: Path) -> None:
        """With -Z -M the noise of the adjustment is dataset_1, the scan dataset_2."""
        raw = small_raw()
        with h5py.File(written(tmp_path, raw)) as old, h5py.File(tmp_path / "groups.h5", "w") as new:
            data = old["dataset/data"][:]
            for name, part in (("dataset_1", data[:1]), ("dataset_2", data[1:])):
                new.create_dataset(f"{name}/data", data=part, dtype=acquisition_dtype)
                old.copy("dataset/xml", new[name])
        back = read_raw(tmp_path / "groups.h5")
        assert np.array_equal(back.readouts(0, 9), raw.samples[:9])
        assert np.array_equal(back.header.noise, raw.header.noise)

    def test_lines_that_are_calibration_and_image_carry_both_flags(self, tmp_path: Path) -> None:
        raw = small_raw()

        def both(data: np.ndarray) -> np.ndarray:
            central = (data["head"]["flags"] & flag("IS_PARALLEL_CALIBRATION_AND_IMAGING")) != 0
            data["head"]["flags"][central] |= flag("IS_PARALLEL_CALIBRATION")
            return data

        path = rewrite(written(tmp_path, raw), tmp_path / "both.h5", both)
        assert same_samples(path, raw)
        assert read_raw(path).header.missing == ()

    def test_a_calibration_scan_of_another_encoding_is_left_out(self, tmp_path: Path) -> None:
        raw = small_raw()

        def add(data: np.ndarray) -> np.ndarray:
            other = data[1:5].copy()
            other["head"]["encoding_space_ref"] = 1
            other["head"]["number_of_samples"] = 10
            return np.concatenate([data, other])

        path = rewrite(written(tmp_path, raw), tmp_path / "flash.h5", add)
        assert same_samples(path, raw)
        assert any("4 readouts of another encoding" in sentence for sentence in read_raw(path).header.missing)

    def test_a_calibration_scan_of_the_first_echo_alone_is_the_reference(self, tmp_path: Path) -> None:
        raw = small_raw()
        central = (raw.header.lines[:, 0] % 2 == 1) & raw.header.calibration
        assert central.any()

        def separate(data: np.ndarray) -> np.ndarray:
            inside = np.isin(np.arange(len(data)) - 1, np.flatnonzero(np.repeat(raw.header.calibration, 2)))
            scan = data[inside & (data["head"]["idx"]["contrast"] == 0)].copy()
            scan["head"]["flags"] = flag("IS_PARALLEL_CALIBRATION")
            imaging = data[data["head"]["idx"]["kspace_encode_step_1"] % 2 == 0]
            return np.concatenate([imaging, scan])

        back = read_raw(rewrite(written(tmp_path, raw), tmp_path / "separate.h5", separate))
        assert not back.header.calibration.any()
        reference = back.header.reference
        assert reference is not None
        assert len(reference.lines) == raw.header.calibration.sum()
        where = {tuple(line): n for n, line in enumerate(raw.header.lines)}
        assert np.array_equal(reference.samples[3], raw.samples[where[tuple(reference.lines[3])], 0])
        write_raw(tmp_path / "again.h5", back)
        again = read_raw(tmp_path / "again.h5")
        assert np.array_equal(again.header.reference.samples, reference.samples)
        assert np.array_equal(again.readouts(0, 5), back.readouts(0, 5))


class TestPhilips:
    def test_words_and_fractions_in_the_header(self, tmp_path: Path) -> None:
        raw = small_raw()

        def philips(text: str) -> str:
            text = re.sub("<TR>[^<]*</TR>", "<TR>ETH</TR>", text)
            text = text.replace("<x>20</x>", "<x>20.0000001</x>", 1)
            text = re.sub("<H1resonanceFrequency_Hz>[^<]*<", "<H1resonanceFrequency_Hz>0<", text)
            return re.sub("<systemFieldStrength_T>[^<]*</systemFieldStrength_T>", "", text)

        path = with_text(written(tmp_path, raw), tmp_path / "p.h5", philips)
        assert same_samples(path, raw)
        header = read_raw(path).header
        assert (header.repetition_time_s, header.field_strength_t) == (None, None)
        told = " ".join(header.missing)
        for part in ("'ETH' for TR", "no field strength", "with a fraction"):
            assert part in told

    def test_no_directions_and_no_position(self, tmp_path: Path) -> None:
        def bare(data: np.ndarray) -> np.ndarray:
            for name in ("position", "read_dir", "phase_dir", "slice_dir"):
                data["head"][name] = 0
            return data

        header = read_raw(rewrite(written(tmp_path), tmp_path / "p.h5", bare)).header
        assert header.scan.b0_direction == (0.0, 0.0, 1.0)
        assert any("no directions" in sentence for sentence in header.missing)

    def test_echoes_read_backwards_without_a_flag_are_told(self, tmp_path: Path) -> None:
        raw = small_raw(n_readout=32)
        shape = np.exp(-((np.arange(32) - 11.0) ** 2) / 18.0)
        spectrum = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(shape)))
        samples = np.broadcast_to(spectrum, (len(raw.header.lines), 2, 3, 32)).astype(np.complex64)
        forward = MemoryRaw(raw.header, samples)
        backward = ReversedEchoes(raw.header, forward, (1,))
        write_raw(tmp_path / "forward.h5", forward)
        write_raw(tmp_path / "backward.h5", backward)
        assert read_raw(tmp_path / "forward.h5").header.missing == ()
        (sentence,) = read_raw(tmp_path / "backward.h5").header.missing
        assert "Echoes 2 look mirrored along the readout" in sentence and "--reverse-echoes 2" in sentence
        turned = tmp_path / "turned.h5"
        words = ["convert", tmp_path / "backward.h5", turned, "--reverse-echoes", "2", "--quiet"]
        assert main([str(word) for word in words]) == 0
        assert np.array_equal(read_raw(turned).readouts(0, 20), samples[:20])
        assert read_raw(turned).header.missing == ()
        words[4] = "3"
        assert main([*[str(word) for word in words], "--overwrite"]) == 2


class TestGe:
    def test_partitions_in_the_slice_counter(self, tmp_path: Path) -> None:
        raw = small_raw()

        def as_slices(data: np.ndarray) -> np.ndarray:
            idx = data["head"]["idx"]
            idx["slice"][1:] = idx["kspace_encode_step_2"][1:]
            idx["kspace_encode_step_2"] = 0
            data["head"]["position"][1:, 2] += idx["slice"][1:] - 4.0
            return data

        path = rewrite(written(tmp_path, raw), tmp_path / "ge.h5", as_slices)
        assert same_samples(path, raw)
        header = read_raw(path).header
        assert np.allclose(header.grid.affine, raw.header.grid.affine, atol=2e-5)
        assert any("9 partitions of a 3-D scan" in sentence for sentence in header.missing)

    def test_two_echo_times_for_more_echoes(self, tmp_path: Path) -> None:
        def one(header: xsd.ismrmrdHeader) -> None:
            header.sequenceParameters.TE = [4.0]

        header = read_raw(rewrite(written(tmp_path), tmp_path / "ge.h5", xml=one)).header
        assert header.echo_times_s == ()
        assert any("1 echo times for 2 echoes" in sentence for sentence in header.missing)

    def test_a_second_echo_time_of_zero_is_none(self, tmp_path: Path) -> None:
        def padded(header: xsd.ismrmrdHeader) -> None:
            header.sequenceParameters.TE = [4.0, 9.5, 0.0]

        assert read_raw(rewrite(written(tmp_path), tmp_path / "ge.h5", xml=padded)).header.echo_times_s == (
            0.004,
            0.0095,
        )

    def test_echo_times_in_seconds_are_refused(self, tmp_path: Path) -> None:
        def seconds(header: xsd.ismrmrdHeader) -> None:
            header.sequenceParameters.TE = [0.004, 0.0095]

        with pytest.raises(InputError, match=r"must be in milliseconds: the longest is 9\.5e-06 s"):
            read_raw(rewrite(written(tmp_path), tmp_path / "ge.h5", xml=seconds))

    def test_a_frequency_that_was_multiplied(self, tmp_path: Path) -> None:
        def fraction(text: str) -> str:
            return re.sub("<H1resonanceFrequency_Hz>[^<]*<", "<H1resonanceFrequency_Hz>123048912.99999999<", text)

        header = read_raw(with_text(written(tmp_path), tmp_path / "ge.h5", fraction)).header
        assert header.field_strength_t == 2.89


def test_missing_limits_and_conditions(tmp_path: Path) -> None:
    raw = small_raw()

    def without(text: str) -> str:
        text = re.sub("<encodingLimits>.*?</encodingLimits>", "", text, flags=re.S)
        return re.sub("<experimentalConditions>.*?</experimentalConditions>", "", text, flags=re.S)

    path = with_text(written(tmp_path, raw), tmp_path / "bare.h5", without)
    assert same_samples(path, raw)
    told = " ".join(read_raw(path).header.missing)
    for part in ("no encodingLimits", "no experimentalConditions", "no encoding limits for kspace_encode_step_1"):
        assert part in told


def test_a_centre_at_the_first_line_is_one_that_was_not_told(tmp_path: Path) -> None:
    raw = small_raw()

    def zero(header: xsd.ismrmrdHeader) -> None:
        header.encoding[0].encodingLimits.kspace_encoding_step_2.center = 0

    path = rewrite(written(tmp_path, raw), tmp_path / "zero.h5", xml=zero)
    assert same_samples(path, raw)
    assert any("centre of kspace_encode_step_2 at its first line" in s for s in read_raw(path).header.missing)


def test_missing_flags_of_first_and_last_lines_do_not_matter(tmp_path: Path) -> None:
    raw = small_raw()

    def clear(data: np.ndarray) -> np.ndarray:
        data["head"]["flags"][1:] = 0
        return data

    path = rewrite(written(tmp_path, raw), tmp_path / "flags.h5", clear)
    assert same_samples(path, raw)
    assert np.array_equal(read_raw(path).header.calibration, raw.header.calibration)


def test_two_dimensional_data(tmp_path: Path) -> None:
    """One slice becomes an image; several are refused."""

    def one_slice(data: np.ndarray) -> np.ndarray:
        idx = data["head"]["idx"]
        data = data[(idx["kspace_encode_step_2"] == 4) | (np.arange(len(data)) == 0)]
        data["head"]["idx"]["kspace_encode_step_2"] = 0
        return data

    def flat(header: xsd.ismrmrdHeader) -> None:
        header.encoding[0].encodedSpace.matrixSize.z = header.encoding[0].reconSpace.matrixSize.z = 1
        header.encoding[0].encodingLimits.kspace_encoding_step_2 = xsd.limitType(minimum=0, maximum=0, center=0)

    def slices(data: np.ndarray) -> np.ndarray:
        data = one_slice(data)
        data["head"]["idx"]["slice"][5:] = 2
        return data

    header = read_raw(rewrite(written(tmp_path), tmp_path / "one.h5", one_slice, flat)).header
    assert header.grid.shape == (12, 14, 1)
    assert any("one 2-D slice" in sentence for sentence in header.missing)
    with pytest.raises(InputError, match="holds 3 slices of 2-D data"):
        read_raw(rewrite(written(tmp_path), tmp_path / "three.h5", slices, flat))


def test_a_header_that_is_no_xml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its header is no XML"):
        read_raw(with_text(written(tmp_path), tmp_path / "bad.h5", lambda text: text[:-20]))
