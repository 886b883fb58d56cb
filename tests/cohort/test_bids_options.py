"""Each option of the BIDS Apps convention does what it says; both spellings are taken."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from cohort_study import Run, records
from distributed import Client
from tiny_images import describe_scans, signal, write_scan

from dlqsm.cli import main, run_options, workers
from dlqsm.cli.arguments import Parser, add_common_arguments, spelled
from dlqsm.cli.run import add_arguments
from dlqsm.cohort import plan as plan_module
from dlqsm.cohort.dask_schedule import run_on
from dlqsm.cohort.participant import Hooks, Result, Task
from dlqsm.cohort.plan import choose_participants
from dlqsm.config import QsmConfig
from dlqsm.core.checks import InputError
from dlqsm.io.bids import read_dataset
from dlqsm.io.bids_filter import read_filters
from dlqsm.io.bids_sources import ArmSource, ParticipantSource
from dlqsm.io.outputs import write_json
from dlqsm.io.version import version_line
from dlqsm.reconstruction.slabs import SLAB_BYTES

Refused = Callable[..., str]


def _parsed(*words: str) -> dict[str, object]:
    parser = Parser(prog="dlqsm run")
    add_arguments(parser, [])
    add_common_arguments(parser)
    return vars(parser.parse_args(["bids", "out", "participant", *words]))


def _touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.fixture
def names(tmp_path: Path) -> Path:
    """A dataset of empty files: two participants, two sessions, two arms, two runs, a T1w image each run."""
    root = tmp_path / "bids"
    for person in ("01", "02"):
        for session in ("a", "b"):
            for acq in ("X", "Y"):
                for run in ("1", "02"):
                    stem = f"sub-{person}_ses-{session}_acq-{acq}_run-{run}"
                    folder = f"sub-{person}/ses-{session}/anat"
                    parts = [f"echo-{e}_part-{p}" for e in (1, 2, 3) for p in ("mag", "phase")]
                    _touch(root, *(f"{folder}/{stem}_{part}_MEGRE.nii.gz" for part in parts))
                    _touch(root, f"{folder}/sub-{person}_ses-{session}_run-{run}_T1w.nii.gz")
    write_json(root / "dataset_description.json", {"Name": "x", "BIDSVersion": "1.11.0"})
    return root


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two participants of one arm each; the first one's second echo is no image."""
    root = tmp_path_factory.mktemp("tiny") / "bids"
    for person in ("01", "02"):
        write_scan(root, signal(), sub=person, acq="A")
    broken = root / "sub-01" / "anat" / "sub-01_acq-A_echo-2_part-phase_MEGRE.nii.gz"
    broken.write_bytes(broken.read_bytes()[:100])
    describe_scans(root, {"sub-01": 60, "sub-02": 40})
    return root


class TestSpelling:
    def test_dashes_and_underscores_are_one(self) -> None:
        assert spelled("-w", "--work-dir") == ("-w", "--work-dir", "--work_dir")
        assert spelled("--mem") == ("--mem",)
        pairs = {
            "session-label": ["1"], "bids-filter-file": ["f.json"], "omp-nthreads": ["2"], "mem-mb": ["100"],
            "config-file": ["c.toml"], "random-seed": ["7"], "output-layout": ["bids"], "n-cpus": ["3"],
            "skip-bids-validation": [], "low-mem": [], "reports-only": [], "stop-on-first-crash": [],
        }  # fmt: skip
        for name, values in pairs.items():
            dashed = _parsed(f"--{name}", *values)
            assert dashed == _parsed(f"--{name.replace('-', '_')}", *values)
            assert dashed != _parsed() or name == "output-layout", name

    def test_other_names_of_options(self) -> None:
        assert _parsed("--nthreads", "3") == _parsed("--threads", "3") == _parsed("--nprocs", "3")
        assert _parsed("--random-seed", "7") == _parsed("--seed", "7")
        assert _parsed("--config-file", "c.toml") == _parsed("--config", "c.toml")
        assert _parsed("--notrack")["notrack"] is True

    def test_the_version_is_told(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["run", "--version"]) == 0
        assert capsys.readouterr().out == f"{version_line()}\n"

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("--output-layout", "legacy"), "invalid choice: 'legacy'"),
            (("--mem", "0"), "expected a number above zero"),
            (("--low-mem", "--workers", "2"), "--low-mem works on one stage after another; got --workers 2"),
            (("--scheduler", "tcp://host:1", "--mem", "900"), "--mem is for this machine"),
            (("--session-label", "c"), "data of session ses-c; it has ses-a, ses-b"),
            (("--participant-label", "sub-03"), "data of participant sub-03; it has sub-01, sub-02"),
        ],
    )
    def test_what_cannot_be_followed_is_refused(
        self, names: Path, refused_run: Refused, words: tuple[str, ...], said: str
    ) -> None:
        assert said in refused_run(names, names.parent / "out", "participant", "--atlas", "virtual", *words)
        assert not (names.parent / "out").exists()


class TestSelection:
    def test_labels_come_with_and_without_their_prefix(self, names: Path) -> None:
        dataset = read_dataset(names)
        for people, sessions in ((["02"], ["a"]), (["sub-02"], ["ses-a"]), (["02", "sub-02"], ["a", "ses-a"])):
            assert [p.label for p in choose_participants(dataset, people, sessions)] == ["sub-02_ses-a"]
        together = read_dataset(names, sessions_apart=False)
        (person,) = choose_participants(together, ["01"], ["b"])
        assert {arm.session for arm in person.arms} == {"ses-b"}

    def test_who_lacks_a_session_is_left_out(self, names: Path) -> None:
        for path in (names / "sub-02" / "ses-b").rglob("*.nii.gz"):
            path.unlink()
        dataset = read_dataset(names)
        assert [p.label for p in choose_participants(dataset, None, ["b"])] == ["sub-01_ses-b"]
        with pytest.raises(InputError, match="session ses-b"):
            choose_participants(dataset, ["02"], ["b"])

    def test_sessions_of_a_dataset_without_any(self, tiny: Path) -> None:
        with pytest.raises(InputError, match="has no sessions"):
            choose_participants(read_dataset(tiny), None, ["1"])


class TestFilters:
    @pytest.mark.parametrize(
        ("megre", "arms"),
        [
            ({"session": "a", "acquisition": "X", "run": 2}, ["sub-01_ses-a X"]),
            ({"session": ["ses-a"], "acq": "X", "run": [1, 2]}, ["sub-01_ses-a X_run02", "sub-01_ses-a X_run1"]),
            ({"session": "b", "acquisition": "*", "run": "1", "reconstruction": None},
             ["sub-01_ses-b X", "sub-01_ses-b Y"]),
            ({"session": "b", "run": 1, "suffix": "MEGRE", "datatype": "anat", "task": "Query.NONE"},
             ["sub-01_ses-b X", "sub-01_ses-b Y"]),
        ],
    )  # fmt: skip
    def test_only_what_fits_is_taken(self, names: Path, megre: dict[str, object], arms: list[str]) -> None:
        write_json(names / "f.json", {"megre": {"subject": "01", **megre}, "t1w": {"run": 2}, "bold": {"task": "rest"}})
        dataset = read_dataset(names, filters=read_filters(names / "f.json"))
        assert [f"{p.label} {arm.name}" for p in dataset.participants for arm in p.arms] == arms
        assert all(p.t1w is not None and "run-02" in p.t1w.name for p in dataset.participants)
        assert "f.json: the filters of bold are of no use here" in dataset.notes

    def test_echoes_may_be_left_out(self, names: Path) -> None:
        write_json(names / "f.json", {"megre": {"echo": [2, 3]}})
        arms = read_dataset(names, filters=read_filters(names / "f.json")).participants[0].arms
        assert {arm.problem for arm in arms} == {None}
        assert [p.name.split("echo-")[1][0] for p in arms[0].magnitude] == ["2", "3"]

    def test_raw_data_hold_all_echoes(self, tmp_path: Path) -> None:
        _touch(tmp_path, "sourcedata/sub-1/anat/sub-1_acq-A_MEGRE.h5", "sourcedata/sub-1/anat/sub-1_acq-B_MEGRE.h5")
        write_json(tmp_path / "f.json", {"megre": {"echo": 1, "part": "mag", "acquisition": "B"}})
        (person,) = read_dataset(tmp_path, filters=read_filters(tmp_path / "f.json")).participants
        assert [arm.name for arm in person.arms] == ["B"]

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ({"bold": {}}, "a filter neither of megre nor of t1w; it has bold"),
            ({"megre": ["session"]}, "must be an object of entities"),
            ({"megre": {"sesion": "1"}}, "'sesion' in the filter of megre is no entity of BIDS"),
            ({"megre": {"run": 1.5}}, "'run' in the filter of megre is 1.5"),
            ({"t1w": {"suffix": "T2w"}}, "the suffix in the filter of t1w is 'T2w'; dlqsm reads T1w only"),
            ({"megre": {"acquisition": "Z"}}, "no participant has multi-echo data, with these filters"),
        ],
    )
    def test_a_wrong_filter_is_told(
        self, names: Path, refused_run: Refused, content: dict[str, object], said: str
    ) -> None:
        write_json(names / "f.json", content)
        assert said in refused_run(names, names.parent / "out", "participant", "--bids-filter-file", names / "f.json")


class TestValidation:
    def test_the_dataset_as_such_is_checked_unless_told_otherwise(self, names: Path) -> None:
        (names / "participants.tsv").write_text("participant_id\tage\nsub-01\t50\nsub-07\t60\n")
        write_json(names / "dataset_description.json", {"Name": "x"})
        notes = " ".join(read_dataset(names).notes)
        assert "has no BIDSVersion" in notes
        assert "not in participants.tsv: sub-02" in notes
        assert "without a folder: sub-07" in notes
        assert read_dataset(names, is_checked=False).notes == ()

    def test_derivatives_are_refused(self, names: Path, refused_run: Refused) -> None:
        write_json(
            names / "dataset_description.json", {"Name": "x", "BIDSVersion": "1.11.0", "DatasetType": "derivative"}
        )
        out = names.parent / "out"
        assert "says that this is a dataset of derivatives" in refused_run(names, out, "participant")
        # Without that check the run comes to what it would say next.
        assert "reference arm 'Q'" in refused_run(
            names, out, "participant", "--skip-bids-validation", "--atlas", "virtual", "--reference", "Q"
        )

    def test_names_are_checked_all_the_same(self, names: Path) -> None:
        _touch(names, "sub-01/ses-a/anat/sub-01_ses-b_acq-X_run-3_echo-1_part-mag_MEGRE.nii.gz")
        arms = [arm for p in read_dataset(names, is_checked=False).participants for arm in p.arms]
        assert sum("lies in a folder of ses-a" in (arm.problem or "") for arm in arms) == 1


class TestMachine:
    @pytest.fixture
    def chosen(self, names: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, int | None]]:
        """Workers and threads of a stage that a run of eight arms chooses: 8 processors, 4 GB free, 1 GB a stage."""
        monkeypatch.setattr(workers.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
        monkeypatch.setattr(workers, "stage_bytes", lambda people, plan: 10**9)
        monkeypatch.setattr(workers, "free_bytes", lambda: 4 * 10**9)
        people = choose_participants(read_dataset(names), ["01"])
        settled = plan_module.Plan(names, names, names, None, None, "virtual", "X")  # type: ignore[arg-type]

        def choose(*words: str) -> tuple[int, int | None]:
            arguments = Parser(prog="x")
            add_arguments(arguments, [])
            add_common_arguments(arguments)
            given = arguments.parse_args([str(names), "out", "participant", *words])
            found = workers.choose_workers(given, people, settled, workers.Talk(quiet=True))
            return found.n_workers, found.threads

        return choose

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ((), (4, 2)),
            (("--nprocs", "6"), (4, 1)),
            (("--mem", "2100"), (2, 4)),
            (("--mem_mb", "1000"), (1, None)),
            (("--mem", "64000"), (4, 2)),
            (("--workers", "3", "--mem", "2100"), (2, 4)),
            (("--omp-nthreads", "1"), (4, 1)),
            (("--omp-nthreads", "4"), (2, 4)),
            (("--nthreads", "4", "--omp-nthreads", "3", "--workers", "1"), (1, 3)),
            (("--low-mem",), (1, None)),
            (("--low-mem", "--omp-nthreads", "2"), (1, 2)),
        ],
    )
    def test_threads_and_memory_bound_the_workers(
        self, chosen: Callable[..., tuple[int, int | None]], words: tuple[str, ...], expected: tuple[int, int | None]
    ) -> None:
        assert chosen(*words) == expected

    def test_less_memory_than_a_stage_needs_is_refused(self, chosen: Callable[..., tuple[int, int | None]]) -> None:
        with pytest.raises(InputError, match=r"needs about 1000 MB, --mem grants 900 MB; .*--low-mem"):
            chosen("--mem_mb", "900")

    def test_low_memory_means_thin_slabs(self) -> None:
        fields = (Path(), Path(), Path(), None, None, "virtual", "X")
        plans = [plan_module.Plan(*fields, saves_memory=saves) for saves in (False, True)]  # type: ignore[arg-type]
        assert [plan.slab_bytes for plan in plans] == [SLAB_BYTES, SLAB_BYTES // 4]


def test_the_first_failure_ends_the_run_where_asked_for(
    tiny: Path, quick: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (tiny, tmp_path, "participant", "--config", quick, "--atlas", "virtual", "--workers", 1)
    assert run(*words, "--stop-on-first-crash") == 1
    said = capsys.readouterr()
    assert "0 of 2 participants complete" in said.out
    assert "stopped at the first failure, as asked" in said.out
    assert "echo-2_part-phase_MEGRE.nii.gz" in said.err
    assert records(tmp_path) == {}
    outcome = json.loads((tmp_path / "logs" / "records" / "sub-01" / "outcome.json").read_text())
    assert len(outcome["failures"]) == 1
    assert run(*words) == 1
    assert "1 of 2 participants complete" in capsys.readouterr().out
    assert (tmp_path / "sub-02.html").is_file()


def _fails_for_the_second(
    task: Task, before: Sequence[Result], person: ParticipantSource, *_: object, **__: object
) -> Result:
    return (
        Result(task.stage, task.name, "failed", failure="no") if person.label == "sub-02" else Result(*task.key, "run")
    )


def test_workers_are_given_no_more_after_a_failure(tmp_path: Path) -> None:
    people = [ParticipantSource(f"sub-{n:02d}", (ArmSource("A", ()),)) for n in range(1, 9)]
    plan = plan_module.Plan(
        tmp_path, tmp_path, tmp_path / "w", None, QsmConfig(), "virtual", "A", run="r", stops_at_failure=True
    )
    ended: list[str] = []
    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None) as client:
        outcomes = run_on(
            client, people, plan, Hooks(lambda folder: folder, str), lambda line: None,
            lambda outcome: ended.append(outcome.label), at_once=2, run=_fails_for_the_second,
        )  # fmt: skip
    assert [outcome.label for outcome in outcomes if outcome.failures] == ["sub-02"]
    assert {outcome.label for outcome in outcomes} == set(ended) < {"sub-01", "sub-02", "sub-03", "sub-04"}


def test_levels_and_layouts_are_those_of_bids_apps() -> None:
    assert run_options.LEVELS == ("participant", "group")
