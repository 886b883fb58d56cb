"""``dlqsm recon`` with a network: weights by an option, a plan of memory, and a sentence where weights are no good."""

from pathlib import Path

import pytest
from coil_phantom import every_second_row, make_phantom
from networks import options_with_weights

from dlqsm.cli import main
from dlqsm.core.memory import MB
from dlqsm.io.mdi_file import read_lag_sums
from dlqsm.io.outputs import read_json
from dlqsm.io.raw import read_raw
from dlqsm.io.raw_write import write_raw
from dlqsm.pipeline.memory import recon_need
from dlqsm.reconstruction import slabs


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("raw") / "raw.h5"
    write_raw(path, make_phantom(every_second_row((24, 18), 8), n_coils=3, shape=(10, 24, 18)).raw)
    return path


def test_recon_by_cascade_says_its_memory_first_and_records_its_weights(raw, tmp_path, capsys):
    weights = options_with_weights("cascade", tmp_path)["weights"]
    words = ["recon", str(raw), str(tmp_path / "out"), "--method", "cascade", "--weights", weights, "--uncombined"]
    assert main(words) == 0
    said = capsys.readouterr().err
    assert said.count("Memory: about") == 1 and said.index("Memory: about") < said.index("recon cascade")
    decisions = read_json(tmp_path / "out" / "scan.json")["decisions"]
    assert decisions["options"] == {"weights": Path(weights).name, "consistency": "soft"}
    assert decisions["network"]["settings"]["n_blocks"] == 2 and len(decisions["network"]["sha256"]) == 64
    assert (tmp_path / "out" / "phase_uncombined.nii.gz").is_file()


def test_less_memory_gives_thinner_slabs_and_the_same_sums(raw, tmp_path, capsys, monkeypatch):
    # Of a scan as small as this, reading would take more than any slab.
    monkeypatch.setattr(slabs, "_BLOCKS_OF_READING", 0)
    monkeypatch.setattr(slabs, "_MAPS_BYTES_A_PAIR", 0)
    least_mb = recon_need(read_raw(raw).header, "sense", slab_bytes=1).planned_bytes / MB
    assert main(["recon", str(raw), str(tmp_path / "whole")]) == 0
    assert "slabs of 10 of 10 planes" in capsys.readouterr().err
    assert main(["recon", str(raw), str(tmp_path / "thin"), "--mem", f"{least_mb + 0.01:.3f}"]) == 0
    assert "slabs of 1 of 10 planes" in capsys.readouterr().err
    (whole, _), (thin, _) = (read_lag_sums(tmp_path / name / "mdi.h5") for name in ("whole", "thin"))
    for one, other in ((whole.lags, thin.lags), (whole.power, thin.power), (whole.noise_sd, thin.noise_sd)):
        assert float((one - other).abs().max()) <= 1e-6 * float(one.abs().max())
    assert main(["recon", str(raw), str(tmp_path / "none"), "--mem", "100"]) == 2
    said = capsys.readouterr().err
    assert "MB, --mem grants 100 MB; give more with --mem, or fewer --virtual-coils" in said
    assert not (tmp_path / "none").exists()


def test_help_tells_the_options_of_the_network(capsys):
    assert main(["recon", "--method", "cascade", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "--weights" in said and "--consistency" in said and "(default: soft)" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--method", "cascade", "--weights", "absent.safetensors"], "does not exist"),
        (["--method", "cascade", "--weights", "RAW"], "not a safetensors file"),
        (["--method", "sense", "--weights", "RAW"], "unrecognized arguments: --weights"),
        (["--method", "sense", "--uncombined"], "goes with one of: --method zero, --method cs --coils each"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_made(raw, tmp_path, capsys, words, sentence):
    out = tmp_path / "out"
    assert main(["recon", str(raw), str(out), *[str(raw) if word == "RAW" else word for word in words]]) == 2
    said = capsys.readouterr().err
    assert sentence in said and "Traceback" not in said
    assert not out.exists()


def test_without_shipped_weights_the_method_says_so(raw, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("dlqsm.reconstruction.learned.weights.resources.files", lambda package: tmp_path)
    assert main(["recon", str(raw), str(tmp_path / "out"), "--method", "cascade"]) == 2
    assert "no weights of 'cascade' come with this version of dlqsm" in capsys.readouterr().err
