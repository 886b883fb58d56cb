"""``dlqsm run`` as a command: what it refuses, and one participant through every real stage."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from dlqsm.cli import main
from dlqsm.core.labels import NUCLEI
from dlqsm.io.outputs import write_json

Refused = Callable[..., str]
PROTOCOL = """
base = "small"
name = "coarse"
shape = [80, 80, 48]
voxel_size_mm = [2.6, 2.6, 3.0]
fine_factor = [2, 2, 2]
n_coils = 4
echo_times_s = [0.0033, 0.0064, 0.0095, 0.0126]
"""


@pytest.fixture
def empty_dataset(tmp_path: Path) -> Path:
    """A dataset whose files are empty: enough for what is refused before they are read."""
    root = tmp_path / "bids"
    for arm in ("PI2", "DL3"):
        path = root / "sourcedata" / "sub-01" / "anat" / f"sub-01_acq-{arm}_MEGRE.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    write_json(root / "dataset_description.json", {"Name": "dlqsm virtual x", "GeneratedBy": [{"Name": "dlqsm"}]})
    return root


class TestRefusals:
    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (
                ("participant", "--scheduler", "slurm"),
                "--scheduler slurm: needs --config F.toml with a table [cluster]",
            ),
            (
                ("participant", "--participant-label", "07"),
                "data of participant sub-07; it has sub-01",
            ),
            (("participant", "--participant_label", "sub-08"), "participant sub-08"),
            (
                ("participant", "--reference", "PI9"),
                "reference arm 'PI9'; choose one of DL3, PI2",
            ),
            (("participant", "--atlas", "nowhere"), "atlas 'nowhere'"),
            (("participant", "--method", "magic"), "invalid choice: 'magic'"),
            (("participant", "--workers", "0"), "expected a number above zero"),
            (("participant", "--config", "absent.toml"), "there is no such file"),
            (("session",), "invalid choice: 'session'"),
            (("group",), "run the participant stage first"),
        ],
    )
    def test_arguments(self, empty_dataset: Path, refused: Refused, words: tuple[str, ...], said: str) -> None:
        out = empty_dataset.parent / "out"
        assert said in refused("run", empty_dataset, out, *words)
        assert not out.exists()

    def test_folders(self, empty_dataset: Path, tmp_path: Path, refused: Refused) -> None:
        assert "there is no such folder" in refused("run", tmp_path / "absent", tmp_path / "out", "participant")
        assert "is the dataset itself" in refused("run", empty_dataset, empty_dataset, "participant")
        write_json(tmp_path / "other" / "dataset_description.json", {"Name": "fmriprep"})
        assert "holds another dataset, named 'fmriprep'" in refused(
            "run", empty_dataset, tmp_path / "other", "participant"
        )
        (tmp_path / "file").touch()
        assert "this is a file" in refused("run", empty_dataset, tmp_path / "file", "participant")

    def test_raw_data_that_cannot_be_read_fail_their_participant(
        self, empty_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["run", str(empty_dataset), str(tmp_path / "out"), "participant", "--quiet"]) == 1
        said = capsys.readouterr()
        assert "0 of 1 participants complete" in said.out
        assert said.err.count("sub-01_acq-DL3_MEGRE.h5") == 1
        assert "Traceback" not in said.err


def _run_and_kill(bids: Path, out: Path, seen: Path) -> None:
    """Run, and kill as ``kill -9`` does as soon as a file is there."""
    command = (sys.executable, "-c", "import sys; from dlqsm.cli import main; sys.exit(main())")
    words = ("run", str(bids), str(out), "participant", "--quiet")
    with subprocess.Popen([*command, *words], stdout=subprocess.DEVNULL) as process:
        end = time.monotonic() + 600
        while not seen.exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        process.kill()
    assert process.returncode == -signal.SIGKILL


def _times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


@pytest.mark.slow
def test_one_virtual_participant_through_every_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Simulate, run, lose the table, then the transforms too: the same bytes again; then the group of one.

    The run that makes the transforms anew is killed once it has them; the next one reads them.
    """
    bids, out, protocol = tmp_path / "bids", tmp_path / "out", tmp_path / "coarse.toml"
    protocol.write_text(PROTOCOL)
    words = ["--participants", "1", "--seed", "3", "--protocol", str(protocol), "--arms", "PI2", "DL3", "--quiet"]
    assert main(["simulate", str(bids), *words]) == 0
    assert main(["run", str(bids), str(out), "participant", "--quiet"]) == 0
    assert "1 of 1 participants complete" in capsys.readouterr().out
    path = out / "sub-001" / "sub-001_desc-nuclei_qsmstats.tsv"
    first = path.read_bytes()
    table = pd.read_csv(path, sep="\t")
    both = table[(table["side"] == "both") & (table["arm"] == "PI2")].set_index("roi")
    assert set(both.index) == set(NUCLEI)
    # Large nuclei by the atlas against true labels; 2.6 x 2.6 x 3 mm voxels, AF 2.
    error = (both["mean_ppb"] - both["mean_true_labels_ppb"]).abs()
    assert float(error[["Pu", "Ca", "GPe"]].max()) < 11.0
    path.unlink()
    assert main(["run", str(bids), str(out), "participant", "--quiet"]) == 0
    assert path.read_bytes() == first
    assert "(kept)" in (out / "logs" / "sub-001.log").read_text()
    path.unlink()
    shutil.rmtree(out / "sub-001" / "xfm")
    _run_and_kill(bids, out, out / "sub-001" / "xfm" / "from-PI2_to-virtual_xfm.json")
    assert not path.exists()
    kept, before = _times(out / "sub-001" / "xfm"), (out / "logs" / "sub-001.log").read_text()
    assert main(["run", str(bids), str(out), "participant", "--quiet"]) == 0
    assert path.read_bytes() == first
    assert _times(out / "sub-001" / "xfm") == kept
    log = (out / "logs" / "sub-001.log").read_text().removeprefix(before)
    assert (
        re.findall(r"nuclei: (\S+_xfm.*?) [\d.]+ s", log)
        == [
            "from-PI2_to-DL3_xfm (kept)",
            "from-PI2_to-virtual_xfm (kept)",
        ]
        * 2
    )  # each arm on its own grid, then all on that of the reference
    accounts = json.loads((out / "sub-001" / "sub-001_desc-registration_qsmaccount.json").read_text())
    assert not any("another head" in warning for account in accounts.values() for warning in account["warnings"])
    assert main(["run", str(bids), str(out), "group", "--quiet"]) == 0
    assert (out / "group.html").is_file()
