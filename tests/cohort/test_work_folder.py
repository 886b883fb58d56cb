"""Files between the stages lie in a folder of the run's own: nothing that somebody else put there is ever removed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cohort_study import Run
from tiny_images import describe_scans, signal, write_scan

from dlqsm.cli.run_work import work_folder
from dlqsm.pipeline.transform_store import forget

Refused = Callable[..., str]


@pytest.fixture(scope="module")
def ball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ball") / "bids"
    write_scan(root, signal(), sub="01", acq="A")
    describe_scans(root, {"sub-01": 60})
    return root


@pytest.mark.parametrize("is_given", [True, False])
def test_folders_of_others_stay(ball: Path, quick: Path, run: Run, tmp_path: Path, is_given: bool) -> None:
    out = tmp_path / "out"
    scratch = tmp_path / "scratch" if is_given else out / "work"
    others = scratch / "sub-01" / "mine.txt"
    others.parent.mkdir(parents=True)
    others.write_text("a year's work")
    where = ("--work-dir", scratch) if is_given else ()
    words = (ball, out, "participant", "--config", quick, "--atlas", "virtual", "--workers", 1)
    assert run(*words, *where) == 0
    assert others.read_text() == "a year's work"
    assert [path.name for path in scratch.iterdir()] == ["sub-01"]


@pytest.mark.parametrize(
    ("place", "said"),
    [("bids", "lies in the dataset"), ("bids/sub-01", "lies in the dataset"), ("link", "lies in the dataset"),
     ("out", "is OUT, whose folders are those of the participants")],
)  # fmt: skip
def test_scans_and_results_are_no_place_for_them(
    ball: Path, tmp_path: Path, refused_run: Refused, place: str, said: str
) -> None:
    (tmp_path / "link").symlink_to(ball)
    before = sorted(ball.rglob("*"))
    work = ball.parent / place if place.startswith("bids") else tmp_path / place
    sentence = refused_run(ball, tmp_path / "out", "participant", "--atlas", "virtual", "--work-dir", work)
    assert f"{work}: {said}" in sentence and "give another folder for --work-dir" in sentence
    assert sorted(ball.rglob("*")) == before and not (tmp_path / "out").exists()


def test_one_folder_serves_runs_on_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bids, scratch = tmp_path / "bids", tmp_path / "scratch"
    first, second = (work_folder(scratch, bids, tmp_path / name) for name in ("one", "two"))
    assert first != second and {first.parent, second.parent} == {scratch}
    assert work_folder(Path("scratch"), bids, Path("one")) == first
    (tmp_path / "three").symlink_to(tmp_path / "one")
    assert work_folder(scratch, bids, tmp_path / "three") == first


def test_it_may_lie_in_derivatives_that_lie_in_the_dataset(tmp_path: Path) -> None:
    bids, out = tmp_path, tmp_path / "derivatives" / "dlqsm"
    assert work_folder(None, bids, out) == work_folder(out / "work", bids, out) == out / "work" / "dlqsm-work"


def test_what_lies_beside_transforms_stays(tmp_path: Path) -> None:
    for name in ("from-PI2_to-DL3_xfm.json", "from-PI2_to-DL3_xfm_0.mat", "mine.txt"):
        (tmp_path / name).touch()
    forget(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
