"""Protocols and arms: the published numbers, and what a TOML file may say."""

import math
import tomllib

import numpy as np
import pytest

from dlqsm.acquisition.conditions import ARMS, draw_conditions, draw_lying, lines_of, parse_arm
from dlqsm.acquisition.participants import Pose
from dlqsm.acquisition.protocols import PROTOCOLS, protocol_from
from dlqsm.acquisition.sampling import poisson
from dlqsm.acquisition.scan_times import scan_times
from dlqsm.core.checks import InputError


def test_paper_protocol_is_the_published_one():
    paper = PROTOCOLS["paper"]
    np.testing.assert_allclose(paper.echo_times_s, np.arange(8) * 3.1e-3 + 3.3e-3)
    assert (paper.shape, paper.voxel_size_mm, paper.n_coils, paper.snr) == ((280, 280, 96), (0.8, 0.8, 2.0), 32, 90)
    assert (paper.repetition_time_s, paper.flip_angle_deg, paper.field_strength_t) == (30.2e-3, 15, 3)
    assert paper.shape[1] * paper.shape[2] / 2 * paper.repetition_time_s == pytest.approx(406, abs=1)  # 6:46


@pytest.mark.parametrize("name", PROTOCOLS)
def test_fine_grid_covers_the_same_view_and_is_fine_enough(name):
    protocol = PROTOCOLS[name]
    fine = protocol.fine_grid()
    np.testing.assert_allclose(
        np.multiply(fine.shape, fine.voxel_size_mm), np.multiply(protocol.shape, protocol.voxel_size_mm)
    )
    assert max(fine.voxel_size_mm[:2]) <= 0.8
    assert fine.voxel_size_mm[2] <= 1.0
    wider = protocol.fine_grid(5)
    np.testing.assert_allclose(wider.affine @ [3, 4, 5, 1], fine.affine @ [3, 4, 0, 1])


def test_toml_overrides_any_field():
    lines = (
        'base = "small"',
        'name = "site"',
        "shape = [64, 60, 20]",
        "echo_times_s = [0.004, 0.008]",
        "snr = 60",
        "tilt_deg = [20, 0, 0]",
    )
    protocol = protocol_from(tomllib.loads("\n".join(lines)))
    assert (protocol.name, protocol.shape, protocol.snr, protocol.n_coils) == ("site", (64, 60, 20), 60.0, 8)
    assert protocol.scan.echo_times_s == (0.004, 0.008)
    np.testing.assert_allclose(
        protocol.grid.b0_direction(), [0, math.sin(math.radians(20)), math.cos(math.radians(20))]
    )
    np.testing.assert_allclose(protocol.grid.affine @ [32, 30, 10, 1], [0, 0, 0, 1], atol=1e-9)
    assert protocol_from({}) == PROTOCOLS["paper"]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"sharpe": [1, 2, 3]}, "unknown protocol key 'sharpe'"),
        ({"base": "huge"}, "unknown protocol 'huge'"),
        ({"shape": [64, 64]}, "'shape' must be of the form"),
        ({"shape": [64.5, 64, 20]}, "'shape' must be of the form"),
        ({"n_coils": True}, "'n_coils' must be of the form"),
        ({"snr": "high"}, "'snr' must be of the form"),
        ({"name": 3}, "'name' must be of the form"),
        ({"snr": 0}, "snr must be above zero"),
        ({"n_coils": 0}, "n_coils must be above zero"),
        ({"echo_times_s": [0.008, 0.004]}, "echo times must ascend"),
        ({"echo_times_s": [4.0, 8.0]}, "not milliseconds"),
        ({"echo_times_s": [0.004, 0.04]}, "within the TR"),
        ({"echo_times_s": []}, "within the TR"),
        ({"slab_edge": 0.5}, "slab_edge"),
        ({"shim_sd_ppm": -1}, "spreads of pose"),
    ],
)
def test_bad_protocols_are_refused(mapping, message):
    with pytest.raises(InputError, match=message):
        protocol_from(mapping)


def test_arms_have_the_accelerations_of_their_names():
    assert list(ARMS) == ["FULL", "PI2", "PI2rep", "DL3", "DL4", "DL5", "DL6", "DL7", "DL8"]
    for name, arm in ARMS.items():
        sampling = parse_arm(name).sampling((60, 40), 1)
        assert len(sampling.lines) == round(2400 / arm.acceleration)
        assert sampling.calibration.any()
    for name in ("DL2", "PI3", "dl3", ""):
        with pytest.raises(InputError, match="unknown arm"):
            parse_arm(name)


@pytest.mark.parametrize("scale", [0.25, 0.5, 0.457, 1.0, 2.0])
def test_a_scaled_protocol_keeps_the_view_and_the_fineness_of_the_tissue(scale):
    paper = PROTOCOLS["paper"]
    scaled = paper.scaled(scale)
    view = [np.multiply(p.shape, p.voxel_size_mm) for p in (paper, scaled)]
    np.testing.assert_allclose(view[1], view[0])
    assert all(n % 2 == 0 and abs(n - scale * m) <= 1 for n, m in zip(scaled.shape, paper.shape, strict=True))
    assert scaled.n_coils == round(32 * scale)
    assert max(scaled.fine_grid().voxel_size_mm) <= 1.0 + 1e-9
    assert min(scaled.fine_factor) >= 2
    assert scaled.echo_times_s == paper.echo_times_s
    assert (scaled.name == "paper") == (scale == 1.0)
    assert paper.scaled(scale, 8).n_coils == 8


def test_a_scale_that_leaves_nothing_is_refused():
    with pytest.raises(InputError, match="leaves a matrix of 14 x 14 x 4"):
        PROTOCOLS["paper"].scaled(0.05)
    with pytest.raises(InputError, match="scale must be above zero"):
        PROTOCOLS["paper"].scaled(0.0)


def test_time_matched_arms_take_the_published_time_on_the_papers_matrix():
    published = {"PI2": 6 * 60 + 46, "DL3": 4 * 60 + 35, "DL4": 3 * 60 + 15, "DL5": 2 * 60 + 11}
    times = {(t.arm, t.af_mode): t for t in scan_times(PROTOCOLS["small"], [*published, "DL8"])}
    assert len(times) == 15
    for arm, seconds in published.items():
        matched, nominal = times[arm, "time-matched"], times[arm, "nominal"]
        assert matched.paper_matrix_scan_time_s == pytest.approx(seconds, abs=0.05)
        assert matched.published_s == nominal.published_s == seconds
        assert nominal.acceleration == float(arm[-1])
        assert nominal.n_samples == round(128 * 36 / nominal.acceleration)
        assert nominal.scan_time_s == pytest.approx(nominal.n_samples * 30.2e-3)
    assert times["DL5", "time-matched"].acceleration == pytest.approx(6.20, abs=0.01)
    assert times["DL3", "time-matched"].acceleration == pytest.approx(2.95, abs=0.01)
    assert times["DL8", "time-matched"].acceleration == 8.0
    assert times["DL8", "nominal"].published_s is None


def test_central_arms_hold_the_middle_of_the_samples_at_the_papers_voxels():
    small, arm = PROTOCOLS["small"], parse_arm("DL5", "central")
    held, whole = lines_of(arm, small, 3, "central"), poisson((256, 72), 5.0, 3)
    np.testing.assert_array_equal(held.mask, whole.mask[64:192, 18:54])
    np.testing.assert_array_equal(held.calibration, whole.calibration[64:192, 18:54])
    assert held.calibration.sum() == whole.calibration.sum()
    assert held.mask[tuple(held.lines.T)].all() and len(held.lines) == held.mask.sum()
    times = {(t.arm, t.af_mode): t for t in scan_times(small, ["PI2", "DL5"])}
    assert 2.0 < times["DL5", "central"].acceleration < 3.0 < times["DL5", "nominal"].acceleration
    assert times["DL5", "central"].paper_matrix_scan_time_s == times["DL5", "nominal"].paper_matrix_scan_time_s
    # The paper's own matrix is its own centre; finer voxels have none.
    np.testing.assert_array_equal(
        lines_of(arm, PROTOCOLS["paper"], 3, "central").mask, lines_of(arm, PROTOCOLS["paper"], 3).mask
    )
    finer = PROTOCOLS["paper"].scaled(1.5)
    assert {t.af_mode for t in scan_times(finer, ["DL5"])} == {"nominal", "time-matched"}
    with pytest.raises(InputError, match="expected a protocol of no smaller ones"):
        lines_of(arm, finer, 3, "central")


def test_conditions_have_the_spreads_of_the_protocol():
    protocol, arm = PROTOCOLS["small"], parse_arm("DL3")
    drawn = [draw_conditions(protocol, arm, np.random.default_rng(seed), None) for seed in range(400)]
    rotation = np.array([c.pose.rotation_deg for c in drawn])
    translation = np.array([c.pose.translation_mm for c in drawn])
    assert np.sqrt((rotation**2).sum(axis=1).mean()) == pytest.approx(1.5, rel=0.08)
    assert np.sqrt((translation**2).sum(axis=1).mean()) == pytest.approx(1.5, rel=0.08)
    drift_ppm = np.array([c.drift_hz_per_s for c in drawn]) * 420 / protocol.scan.hz_per_ppm
    assert ((np.abs(drift_ppm) >= 0.02) & (np.abs(drift_ppm) <= 0.05)).all()
    assert abs(np.sign(drift_ppm).mean()) < 0.2


def test_reference_arms_do_not_move_and_a_given_pose_is_kept():
    protocol, given = PROTOCOLS["small"], Pose((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    for name, arm in ARMS.items():
        drawn = draw_conditions(protocol, arm, np.random.default_rng(1), None)
        assert (drawn.pose == Pose()) == (name in ("FULL", "PI2"))
        assert draw_conditions(protocol, arm, np.random.default_rng(1), given).pose == given
        still = draw_conditions(protocol.without_motion(), arm, np.random.default_rng(1), None)
        assert still.pose == Pose()
        assert still.drift_hz_per_s == 0


def test_a_person_lies_as_drawn_in_every_scan_and_moves_from_there():
    protocol, lying = PROTOCOLS["small"], Pose((4.0, -2.0, 1.0), (3.0, 5.0, -1.0))
    for arm in ARMS.values():
        drawn = draw_conditions(protocol, arm, np.random.default_rng(1), None, lying)
        alone = draw_conditions(protocol, arm, np.random.default_rng(1), None)
        np.testing.assert_allclose(drawn.pose.matrix, alone.pose.matrix @ lying.matrix, atol=1e-12)
    lyings = [draw_lying(protocol, np.random.default_rng(seed)) for seed in range(400)]
    for values in ([p.rotation_deg for p in lyings], [p.translation_mm for p in lyings]):
        assert np.sqrt((np.array(values) ** 2).sum(axis=1).mean()) == pytest.approx(3.0, rel=0.08)
    assert draw_lying(protocol.without_motion(), np.random.default_rng(1)) == Pose()


def test_drift_runs_with_the_time_of_each_line():
    drawn = draw_conditions(PROTOCOLS["small"], parse_arm("PI2"), np.random.default_rng(1), None)
    drift = drawn.drift_hz(1000, 30e-3)
    assert drift[0] == 0
    np.testing.assert_allclose(np.diff(drift), 30e-3 * drawn.drift_hz_per_s)
