from pathlib import Path

import h5py
import ismrmrd
import numpy as np
import pytest
from ismrmrd import xsd
from raw_fixtures import rewrite, small_raw, written

from dlqsm.core.checks import InputError
from dlqsm.core.raw import undersample
from dlqsm.core.scan import Grid
from dlqsm.io.raw import read_raw, write_raw

N_NOISE = 1


def flag(name: str) -> int:
    return 1 << (getattr(ismrmrd, f"ACQ_{name}") - 1)


def test_a_file_read_again_holds_the_same_samples_and_header(tmp_path: Path):
    raw = small_raw()
    back = read_raw(written(tmp_path, raw))
    assert np.array_equal(back.readouts(0, len(raw.header.lines)), raw.samples)
    assert np.array_equal(back.readouts(17, 31), raw.samples[17:31])
    for name in ("n_readout", "n_coils", "n_echoes", "echo_times_s", "repetition_time_s", "flip_angle_deg"):
        assert getattr(back.header, name) == pytest.approx(getattr(raw.header, name), rel=1e-12)
    assert back.header.field_strength_t == 2.89
    for name in ("lines", "calibration", "noise"):
        assert np.array_equal(getattr(back.header, name), getattr(raw.header, name))
    assert back.header.grid.shape == raw.header.grid.shape
    # Directions and position are float32 in the format.
    assert np.allclose(back.header.grid.affine, raw.header.grid.affine, atol=2e-5)
    assert back.header.missing == ()


def test_the_ismrmrd_package_reads_the_file(tmp_path: Path):
    raw = small_raw()
    path = tmp_path / "raw.h5"
    write_raw(path, raw, extra={"seed": 3.0, "arm": "PI2"})
    with ismrmrd.Dataset(str(path), mode="r") as dataset:
        header = xsd.CreateFromDocument(dataset.read_xml_header())
        assert dataset.number_of_acquisitions() == N_NOISE + 2 * len(raw.header.lines)
        noise, first, second, last = (
            dataset.read_acquisition(i) for i in (0, 1, 2, dataset.number_of_acquisitions() - 1)
        )
    assert noise.isFlagSet(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    assert np.array_equal(noise.data, raw.header.noise)
    assert np.array_equal(first.data, raw.samples[0, 0])
    assert np.array_equal(second.data, raw.samples[0, 1])
    assert (first.idx.contrast, second.idx.contrast) == (0, 1)
    assert (second.idx.kspace_encode_step_1, second.idx.kspace_encode_step_2) == tuple(raw.header.lines[0])
    assert first.isFlagSet(ismrmrd.ACQ_FIRST_IN_REPETITION) and last.isFlagSet(ismrmrd.ACQ_LAST_IN_MEASUREMENT)
    assert first.isFlagSet(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING) == bool(raw.header.calibration[0])
    assert pytest.approx([4.0, 9.5]) == header.sequenceParameters.TE
    limit = header.encoding[0].encodingLimits.kspace_encoding_step_1
    assert (limit.minimum, limit.maximum, limit.center) == (0, 13, 7)
    numbers = {item.name: item.value for item in header.userParameters.userParameterDouble}
    assert numbers == {"dlqsm_acceleration": pytest.approx(raw.header.acceleration), "seed": 3.0}
    texts = {item.name: item.value for item in header.userParameters.userParameterString}
    assert texts == {"dlqsm_phase_convention": "signal ~ exp(+i 2 pi f TE)", "arm": "PI2"}
    assert header.experimentalConditions.H1resonanceFrequency_Hz == round(42.577478461e6 * 2.89)


@pytest.mark.parametrize("storage", [{"chunks": (7,)}, {"chunks": (16,), "compression": "gzip"}, {}])
def test_every_storage_of_the_acquisitions_is_read(tmp_path: Path, storage: dict):
    raw = small_raw()
    with h5py.File(written(tmp_path, raw)) as old, h5py.File(tmp_path / "other.h5", "w") as new:
        new.create_dataset("dataset/data", data=old["dataset/data"][:], dtype=old["dataset/data"].dtype, **storage)
        old.copy("dataset/xml", new["dataset"])
    back = read_raw(tmp_path / "other.h5")
    assert np.array_equal(back.header.lines, raw.header.lines)
    assert np.array_equal(back.readouts(0, len(raw.header.lines)), raw.samples)


def test_a_file_that_the_ismrmrd_package_wrote_is_read(tmp_path: Path):
    raw = small_raw()
    with (
        ismrmrd.Dataset(str(written(tmp_path, raw)), mode="r") as old,
        ismrmrd.Dataset(str(tmp_path / "copy.h5")) as new,
    ):
        new.write_xml_header(old.read_xml_header())
        for index in range(old.number_of_acquisitions()):
            new.append_acquisition(old.read_acquisition(index))
    back = read_raw(tmp_path / "copy.h5")
    assert np.array_equal(back.readouts(0, len(raw.header.lines)), raw.samples)


def test_position_is_that_of_the_central_voxel_in_lps(tmp_path: Path):
    raw = small_raw()
    centre = raw.header.grid.affine @ np.array([6, 7, 4, 1.0])
    with h5py.File(written(tmp_path, raw)) as file:
        head = file["dataset/data"].fields("head")[1]
    assert np.allclose(head["position"], centre[:3] * [-1, -1, 1], atol=1e-5)
    assert np.allclose(head["slice_dir"], np.asarray(raw.header.grid.rotation)[:, 2] * [-1, -1, 1], atol=1e-6)


def test_reversed_readouts_are_flipped_about_the_centre(tmp_path: Path):
    raw = small_raw()

    def reverse_second_echo(data: np.ndarray) -> np.ndarray:
        for record in data:
            if record["head"]["idx"]["contrast"] == 1:
                line = record["data"].view(np.complex64).reshape(3, 20)
                # The echo is sample 10 of 20 in both directions; reversed, sample i holds k = 10 - i.
                record["data"] = np.roll(line[:, ::-1], 1, axis=1).copy().view(np.float32).reshape(-1)
                record["head"]["flags"] |= np.uint64(flag("IS_REVERSE"))
        return data

    back = read_raw(rewrite(written(tmp_path, raw), tmp_path / "reversed.h5", reverse_second_echo))
    samples = back.readouts(0, len(raw.header.lines))
    assert np.array_equal(samples[:, 0], raw.samples[:, 0])
    assert np.array_equal(samples[:, 1, :, 1:], raw.samples[:, 1, :, 1:])


def test_a_partial_echo_is_moved_to_the_centre_and_discarded_samples_are_zero(tmp_path: Path):
    raw = small_raw()

    def cut(data: np.ndarray) -> np.ndarray:
        for record in data[N_NOISE:]:
            record["data"] = record["data"].view(np.complex64).reshape(3, 20)[:, 5:].copy().view(np.float32).reshape(-1)
            record["head"]["number_of_samples"], record["head"]["center_sample"] = 15, 5
            record["head"]["discard_post"] = 2
        return data

    samples = read_raw(rewrite(written(tmp_path, raw), tmp_path / "cut.h5", cut)).readouts(0, 4)
    assert np.array_equal(samples[..., 5:18], raw.samples[:4, ..., 5:18])
    assert not samples[..., :5].any() and not samples[..., 18:].any()


def test_a_centre_elsewhere_shifts_the_lines(tmp_path: Path):
    raw = small_raw()

    def shift(data: np.ndarray) -> np.ndarray:
        data["head"]["idx"]["kspace_encode_step_1"][N_NOISE:] += 3
        return data

    def move_centre(header: xsd.ismrmrdHeader) -> None:
        limit = header.encoding[0].encodingLimits.kspace_encoding_step_1
        limit.maximum, limit.center = 16, 10

    back = read_raw(rewrite(written(tmp_path, raw), tmp_path / "shifted.h5", shift, move_centre))
    assert np.array_equal(back.header.lines, raw.header.lines)


def test_averages_are_averaged_and_the_noise_scan_matches(tmp_path: Path):
    raw = small_raw()

    def twice(data: np.ndarray) -> np.ndarray:
        again = data[N_NOISE:].copy()
        again["head"]["idx"]["average"] = 1
        for record in again:
            record["data"] = 3.0 * record["data"]
        return np.concatenate([data, again])

    back = read_raw(rewrite(written(tmp_path, raw), tmp_path / "twice.h5", twice))
    assert np.allclose(back.readouts(0, 9), 2.0 * raw.samples[:9], rtol=1e-6)
    assert np.allclose(back.header.noise, raw.header.noise / np.sqrt(2.0), rtol=1e-6)


def test_echoes_acquired_one_after_the_other_are_sorted(tmp_path: Path):
    raw = small_raw()

    def by_echo(data: np.ndarray) -> np.ndarray:
        return data[np.argsort(data["head"]["idx"]["contrast"], kind="stable")]

    back = read_raw(rewrite(written(tmp_path, raw), tmp_path / "sorted.h5", by_echo))
    assert np.array_equal(back.header.lines, raw.header.lines)
    assert np.array_equal(back.readouts(3, 40), raw.samples[3:40])


def test_a_separate_calibration_scan_fills_empty_cells_and_repeats_nothing(tmp_path: Path):
    raw = small_raw()
    imaging = np.flatnonzero(raw.header.lines[:, 0] % 2 == 0)

    def separate(data: np.ndarray) -> np.ndarray:
        odd = data["head"]["idx"]["kspace_encode_step_1"] % 2 == 1
        odd[:N_NOISE] = False
        data["head"]["flags"][odd] = np.uint64(flag("IS_PARALLEL_CALIBRATION"))
        repeated = data[N_NOISE + 2 * imaging[:3]].copy()
        repeated["head"]["flags"] = np.uint64(flag("IS_PARALLEL_CALIBRATION"))
        return np.concatenate([data, repeated])

    back = read_raw(rewrite(written(tmp_path, raw), tmp_path / "separate.h5", separate))
    assert np.array_equal(back.readouts(0, len(raw.header.lines)), raw.samples)
    assert any("3 readouts of a separate calibration scan" in sentence for sentence in back.header.missing)


def test_noise_is_scaled_to_the_bandwidth_of_the_image(tmp_path: Path):
    raw = small_raw()

    def dwell(data: np.ndarray) -> np.ndarray:
        data["head"]["sample_time_us"] = 2.0
        data["head"]["sample_time_us"][:N_NOISE] = 8.0
        return data

    back = read_raw(rewrite(written(tmp_path, raw), tmp_path / "dwell.h5", dwell))
    assert np.allclose(back.header.noise, 2.0 * raw.header.noise)


def test_what_the_file_lacks_becomes_none_and_a_sentence(tmp_path: Path):
    raw = small_raw(noise=None, echo_times_s=(), field_strength_t=None, repetition_time_s=None, flip_angle_deg=None)

    def strip(header: xsd.ismrmrdHeader) -> None:
        header.userParameters = None
        header.encoding[0].encodingLimits.kspace_encoding_step_2 = None

    def no_directions(data: np.ndarray) -> np.ndarray:
        data["head"]["read_dir"] = 0.0
        return data

    header = read_raw(rewrite(written(tmp_path, raw), tmp_path / "bare.h5", no_directions, strip)).header
    assert (header.noise, header.echo_times_s, header.field_strength_t) == (None, (), None)
    assert (header.repetition_time_s, header.flip_angle_deg) == (None, None)
    text = " ".join(header.missing)
    for part in (
        "no noise scan",
        "no echo times",
        "no field strength",
        "sign of their phase",
        "no directions",
        "limits",
    ):
        assert part in text
    assert header.grid == Grid.centred((12, 14, 9), header.grid.voxel_size_mm, np.eye(3))


def test_the_resonance_frequency_is_believed_where_the_nominal_field_disagrees(tmp_path: Path):
    def nominal(header: xsd.ismrmrdHeader) -> None:
        header.acquisitionSystemInformation.systemFieldStrength_T = 3.0

    header = read_raw(rewrite(written(tmp_path), tmp_path / "nominal.h5", xml=nominal)).header
    assert header.field_strength_t == pytest.approx(2.89, rel=1e-8)
    assert any("2.89" in sentence for sentence in header.missing)


def test_undersampling_a_file_keeps_order_and_samples(tmp_path: Path):
    raw = small_raw()
    keep = np.zeros((14, 9), dtype=bool)
    keep[4:11, 1:8] = True
    keep[0] = True
    kept = undersample(read_raw(written(tmp_path, raw)), keep)
    chosen = np.flatnonzero(keep[raw.header.lines[:, 0], raw.header.lines[:, 1]])
    assert np.array_equal(kept.header.lines, raw.header.lines[chosen])
    assert np.array_equal(kept.readouts(2, 20), raw.samples[chosen[2:20]])
    write_raw(tmp_path / "kept.h5", kept)
    assert np.array_equal(read_raw(tmp_path / "kept.h5").readouts(0, len(chosen)), raw.samples[chosen])


@pytest.mark.parametrize(
    ("rows", "sentence"), [(slice(0, 13, 2), "were not acquired"), (slice(0, 1), "no calibration region")]
)
def test_undersampling_refuses_what_cannot_be(rows: slice, sentence: str):
    raw = small_raw()
    keep = np.zeros((14, 9), dtype=bool)
    keep[rows] = True
    if sentence == "were not acquired":
        keep[1, 0] = True
    with pytest.raises(InputError, match=sentence):
        undersample(raw, keep)
    with pytest.raises(InputError, match="shape"):
        undersample(raw, keep[:-1])
