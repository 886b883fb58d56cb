"""A summary as the commands write it: what the reconstruction told stands in ``scan.json``."""

import pytest

from dlqsm.report.summary import decisions_of, methods_of, scan_of, scan_time_s, seconds_of

SCAN = {
    "repetition_time_s": 0.03,
    "b0_direction": [0.0, 0.1, 0.995],
    "missing": ["no noise scan: noise from the corners of k-space"],
    "decisions": {
        "method": "sense",
        "options": {"tolerance": 1e-4},
        "n_lines": 2000,
        "n_coils": 8,
        "whitening": "noise scan",
        "missing": [],
        "seconds": {"transform": 1.5, "solve": 20.0},
    },
}
SUMMARY = {"scan": SCAN, "methods": {"inversion": {"method": "l1", "parameters": {}}}, "seconds": {"inversion": 9.0}}


def test_scan_time_is_lines_times_repetition_time_unless_told():
    assert scan_time_s(SUMMARY) == pytest.approx(60.0)
    assert scan_time_s({"scan": {**SCAN, "scan_time_s": 75.0}}) == 75.0
    assert scan_time_s({"scan": {"repetition_time_s": 0.03}}) is None
    assert scan_time_s({}) is None


def test_reconstruction_joins_the_methods_the_seconds_and_the_scan():
    assert methods_of(SUMMARY)["reconstruction"] == {"method": "sense", "parameters": {"tolerance": 1e-4}}
    assert list(methods_of(SUMMARY)) == ["inversion", "reconstruction"]
    assert seconds_of(SUMMARY) == {"reconstruction: transform": 1.5, "reconstruction: solve": 20.0, "inversion": 9.0}
    assert scan_of(SUMMARY)["n_coils"] == 8


def test_how_k_space_was_sampled_is_told_of_the_scan_and_in_the_methods():
    facts = {"sampling": "irregular", "partial_fourier": "none", "elliptical_shutter": True}
    summary = {"scan": {"decisions": {"method": "joint", **facts}}}
    assert facts.items() <= scan_of(summary).items()
    assert methods_of(summary)["sampling"] == "irregular"
    assert methods_of({"scan": {"sampling": "full", **summary["scan"]}})["sampling"] == "full"
    assert not any("sampling" in name or "shutter" in name for name in decisions_of(summary))


def test_a_network_is_named_by_its_hash():
    """The option is empty where the shipped weights are taken: the record of what ran tells which they were."""
    told = {"method": "joint", "options": {"weights": None}, "network": {"sha256": 32 * "ab", "shipped": True}}
    assert methods_of({"scan": {"decisions": told}})["reconstruction"]["parameters"] == {
        "weights": "shipped with dlqsm, SHA-256 abababababab"
    }
    told["network"]["shipped"] = False
    assert "given, SHA-256" in methods_of({"scan": {"decisions": told}})["reconstruction"]["parameters"]["weights"]


def test_bids_names_are_understood():
    found = scan_of({"scan": {"EchoTime": [0.0023, 0.0046], "MagneticFieldStrength": 3.0, "B0_dir": [0.0, 0.0, 1.0]}})
    assert found == {"echo_times_s": [0.0023, 0.0046], "field_strength_t": 3.0, "b0_direction": [0.0, 0.0, 1.0]}


def test_decisions_of_all_steps_are_words():
    found = decisions_of({**SUMMARY, "decisions": {"phase_unit": "rad"}, "mask": {"n_low_quality": 3, "n_mask": 12}})
    assert found["phase_unit"] == "rad"
    assert found["reconstruction: whitening"] == "noise scan"
    assert found["b0_direction"] == "(0.0000, 0.1000, 0.9950) along the array axes"
    assert found["mask voxels"] == "low quality 3, mask 12"
    assert found["missing in the raw data"].startswith("no noise scan")
    assert not any(key.endswith(("method", "options", "seconds")) for key in found)


def test_an_empty_summary_tells_nothing():
    assert (scan_of({}), methods_of({}), seconds_of({}), decisions_of({})) == ({}, {}, {}, {})
