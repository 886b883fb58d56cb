"""A cohort that is simulated, measured and dropped participant by participant."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from dlqsm.acquisition.head import draw_participants
from dlqsm.acquisition.protocols import PROTOCOLS
from dlqsm.cli import main, simulate_stream
from dlqsm.cli.virtual_dataset import Cohort, describe_dataset
from dlqsm.cohort.nuclei_stage import settings_hash
from dlqsm.cohort.participant import RECORDS
from dlqsm.cohort.records import write_record
from dlqsm.cohort.stages import fingerprints_of
from dlqsm.core.checks import InputError
from dlqsm.core.labels import NUCLEI
from dlqsm.io.derivatives import table_path
from dlqsm.io.outputs import write_json

STUDY = Path(__file__).parents[2] / "docs" / "replication"
Refused = Callable[..., str]
PROTOCOL = """
base = "small"
name = "coarse"
shape = [52, 52, 36]
voxel_size_mm = [4.0, 4.0, 4.0]
fine_factor = [2, 2, 2]
n_coils = 4
echo_times_s = [0.0033, 0.0064, 0.0095, 0.0126]
"""


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    (tmp_path / "coarse.toml").write_text(PROTOCOL)
    protocol = ["--seed", "3", "--protocol", str(tmp_path / "coarse.toml"), "--arms", "PI2", "PI2rep", "--quiet"]
    return ["simulate", str(tmp_path / "bids"), *protocol, "--stream", str(tmp_path / "out")]


@pytest.mark.slow
def test_a_stream_keeps_tables_and_a_picture_and_goes_on_where_it_stopped(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: Refused
) -> None:
    bids, out = tmp_path / "bids", tmp_path / "out"
    both = [*words, "--participants", "2"]
    assert main([*both, "--participant-label", "002"]) == 0
    assert "1 of 1 participants complete" in capsys.readouterr().out
    left = {path.suffix for path in (out / "sub-002").rglob("*") if path.is_file()}
    assert left == {".tsv", ".json", ".webp"}
    (picture,) = out.rglob("*.webp")
    assert picture.name == "sub-002_desc-arms_qsmfigure.webp" and picture.stat().st_size < 60_000
    times = Path("scan_times.tsv")
    assert (out / "logs" / times).read_text() == (bids / "derivatives" / "dlqsm-truth" / times).read_text()
    assert not list(bids.rglob("*.h5"))
    assert not list(bids.rglob("*.nii.gz"))
    records = {path.name for path in (out / "logs" / "records" / "sub-002").iterdir()}
    assert records == {"all_nuclei.json", "outcome.json"}
    assert not any(str(tmp_path) in path.read_text() for path in (out / "sub-002").rglob("*.json"))
    table = out / "sub-002" / "sub-002_desc-nuclei_qsmstats.tsv"
    values = pd.read_csv(table, sep="\t")
    assert set(values["roi"]) == set(NUCLEI)
    assert values["truth_ppb"].notna().any()
    first = table.read_bytes()
    assert main([*both, "--participant-label", "sub-002"]) == 0
    assert table.read_bytes() == first
    # The group takes those who have tables, though the dataset holds no data any more; the others it names.
    assert main(["run", str(bids), str(out), "group", "--quiet"]) == 1
    told = json.loads((out / "group.json").read_text())
    assert set(told["problems"]) == {"sub-001"}
    assert "4 coils" in told["dataset"]
    page = (out / "group.html").read_text()
    assert "total variation" in page and "sub-002 in all arms" in page and "data:image/webp" in page
    # A participant streamed before pictures were kept has none, and the page says so.
    picture.unlink()
    assert main(["report", str(out), "--quiet"]) == 0
    assert "of no participant are maps kept, nor a picture" in (out / "group.html").read_text()
    assert "holds another study (2 participants" in refused(*words, "--participants", "3")
    assert "has no participant sub-009" in refused(*both, "--participant-label", "009")


class TestOverwrite:
    """Tables of another study are no results of this one; those of this one are made anew where that is asked for."""

    @pytest.fixture
    def done(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Labels that were done, in turn; a participant is done at once, without scan and maps."""
        made: list[str] = []

        def at_once(job: simulate_stream.Job) -> simulate_stream.Outcome:
            label, out = job.participant.label, job.plan.out
            made.append(label)
            path = table_path(out, label, "nuclei")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\t".join(job.cohort.arms))
            settings = settings_hash(job.plan, fingerprints_of(job.plan, label))
            write_record(out / RECORDS / label / "all_nuclei.json", "key", out, [path], 1.0, settings=settings)
            write_json(out / RECORDS / label / "outcome.json", {"failures": []})
            return simulate_stream.Outcome(label)

        monkeypatch.setattr(simulate_stream, "do_participant", at_once)
        return made

    @pytest.fixture
    def command(self, words: list[str], tmp_path: Path) -> list[str]:
        """Of a study whose inversion has no strength to choose."""
        (tmp_path / "plain.toml").write_text('[inversion]\nmethod = "tkd"\n')
        return [*words, "--participants", "2", "--config", str(tmp_path / "plain.toml")]

    def test_without_it_nobody_is_made_twice(self, command: list[str], done: list[str]) -> None:
        assert main(command) == 0 and main(command) == 0
        assert done == ["sub-001", "sub-002"]

    def test_with_it_those_who_are_asked_for_are_made_again(self, command: list[str], done: list[str]) -> None:
        assert main(command) == 0
        assert main([*command, "--overwrite", "--participant-label", "002"]) == 0
        assert done == ["sub-001", "sub-002", "sub-002"]
        assert main([*command, "--overwrite"]) == 0
        assert done[3:] == ["sub-001", "sub-002"]

    @pytest.mark.parametrize("other", [("--seed", "4"), ("--arms", "PI2", "PI2rep", "DL3")])
    def test_another_study_is_made_whole(
        self, command: list[str], done: list[str], tmp_path: Path, refused: Refused, other: tuple[str, ...]
    ) -> None:
        assert main(command) == 0
        notes = tmp_path / "out" / "sub-001" / "notes.txt"
        notes.write_text("somebody's")
        assert "arms PI2, PI2rep); give another folder" in refused(*command, *other)
        assert main([*command, *other, "--overwrite", "--participant-label", "002"]) == 0
        assert done == ["sub-001", "sub-002", "sub-002"]
        assert [path.name for path in (tmp_path / "out" / "sub-001").iterdir()] == ["notes.txt"]
        assert main([*command, *other]) == 0
        assert done[3:] == ["sub-001"]

    def test_maps_of_another_command_are_not_dropped(
        self, command: list[str], done: list[str], tmp_path: Path, refused: Refused
    ) -> None:
        """They may be those of `dlqsm run`, which took hours."""
        chi = tmp_path / "out" / "sub-001" / "anat" / "sub-001_acq-PI2_Chimap.nii.gz"
        chi.parent.mkdir(parents=True)
        chi.write_text("a map")
        write_json(tmp_path / "out" / "dataset_description.json", {"Name": "dlqsm derivatives of a study"})
        for more in ((), ("--overwrite",)):
            assert "sub-001: is not of dlqsm simulate --stream" in refused(*command, *more)
        assert chi.is_file() and done == []

    def test_folders_of_others_stay_where_heads_are_simulated(
        self, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        others = tmp_path / "bids" / "work" / "sub-001" / "mine.txt"
        others.parent.mkdir(parents=True)
        others.write_text("a year's work")

        def fails(*_: object) -> None:
            raise InputError("no head today")

        monkeypatch.setattr(simulate_stream, "simulate_participant", fails)
        assert main(command) == 1
        assert [path.name for path in (tmp_path / "bids" / "work").rglob("*")] == ["sub-001", "mine.txt"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--workers", "2"), "--workers belongs to --stream FOLDER"),
        (("--participant-label", "001"), "--participant-label belongs to --stream FOLDER"),
        (("--config", "c.toml"), "--config belongs to --stream FOLDER"),
        (("--scale", "0.01"), "leaves a matrix of"),
        (("--scale", "0"), "expected a number above zero"),
        (("--af-mode", "real"), "invalid choice"),
    ],
)
def test_options_that_cannot_be_followed_are_refused(
    tmp_path: Path, refused: Refused, more: tuple[str, ...], said: str
) -> None:
    assert said in refused("simulate", tmp_path / "bids", "--participants", "1", *more)
    assert not (tmp_path / "bids").exists()


def test_the_published_tables_are_taken_as_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are the checkpoint that the study goes on from: settings that hash otherwise would measure everyone anew."""
    for part in ("logs", "sub-001"):
        shutil.copytree(STUDY / part, tmp_path / "out" / part)
    shutil.copy(STUDY / "dataset_description.json", tmp_path / "out")
    (tmp_path / "study.toml").write_text("[reconstruction.joint]\nfinal_steps = 2\n")
    asked = [
        "--participants",
        "59",
        "--protocol",
        "small",
        "--af-mode",
        "central",
        "--seed",
        "2026",
        "--participant-label",
        "001",
    ]
    words = ["simulate", str(tmp_path / "bids"), *asked, "--config", str(tmp_path / "study.toml")]
    assert main([*words, "--stream", str(tmp_path / "out")]) == 0
    assert "1 of 1 participants are done; 0 to do" in "".join(capsys.readouterr())


def test_the_dataset_tells_scale_coils_and_scan_times(tmp_path: Path) -> None:
    protocol = PROTOCOLS["small"].scaled(0.5, 2)
    describe_dataset(tmp_path, draw_participants(2, 0), Cohort(protocol, ("DL5",), 7, "time-matched"))
    name = json.loads((tmp_path / "dataset_description.json").read_text())["Name"]
    assert name == (
        "dlqsm virtual cohort, protocol small x 0.5 (64 x 64 x 18, 2 coils), time-matched accelerations, seed 7"
    )
    table = tmp_path / "derivatives" / "dlqsm-truth" / "scan_times.tsv"
    times = pd.read_csv(table, sep="\t").set_index("af_mode")
    assert times.loc["time-matched", "acceleration"] == pytest.approx(26880 * 30.2e-3 / 131.0, rel=1e-5)
    assert times.loc["nominal", "n_samples"] == round(64 * 18 / 5)
    assert set(json.loads(table.with_suffix(".json").read_text())["columns"]) == {"af_mode", *times.columns}


@pytest.mark.parametrize(("field_t", "is_told"), [(7.0, True), (1.5, True), (2.89, False)])
def test_relaxation_that_is_not_of_the_field_strength_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], field_t: float, is_told: bool
) -> None:
    (tmp_path / "protocol.toml").write_text(f'base = "small"\nfield_strength_t = {field_t}\n')
    words = ["simulate", str(tmp_path / "out"), "--participants", "1", "--mem", "1"]
    words += ["--protocol", str(tmp_path / "protocol.toml")]
    assert main(words) == 2
    assert ("R2* and T1 of the virtual heads stay those of 3 T" in capsys.readouterr().err) == is_told
