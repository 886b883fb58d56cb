"""A dataset full of names, in folders with names: nothing of it gets into derivatives, pages, logs or records."""

import json
import shutil
import socket
import sys
from pathlib import Path

import pytest
from standin import put_in_place
from tiny_images import describe_scans, signal, write_scan

from canaries import leaks, plant_in_image, plant_in_sidecar, word_of
from dlqsm.cli import main
from dlqsm.io import places
from dlqsm.io.places import told_place, without_places

PLACE = word_of("home")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """One participant with two arms, a broken third and a T1w image; texts in headers, sidecars and tables."""
    root = tmp_path_factory.mktemp("named") / PLACE / "bids"
    for n, arm in enumerate(("A", "B")):
        write_scan(root, signal(n), sub="01", acq=arm)
    describe_scans(root, {"sub-01": 60})
    anat = root / "sub-01" / "anat"
    first = anat / "sub-01_acq-A_echo-1_part-mag_MEGRE.nii.gz"
    for part in ("mag", "phase"):  # an arm that cannot be used: its sentence names a file
        shutil.copy(first, anat / f"sub-01_acq-C_echo-1_part-{part}_MEGRE.nii.gz")
        (anat / f"sub-01_acq-C_echo-1_part-{part}_MEGRE.json").write_text('{"EchoTime": 3.3, "Units": "rad"}')
    shutil.copy(first, anat / "sub-01_T1w.nii.gz")
    (anat / "sub-01_T1w.json").write_text("{}")
    words = [word for path in sorted(anat.glob("*.nii.gz")) for word in plant_in_image(path)]
    words += [word for path in sorted(anat.glob("*.json")) for word in plant_in_sidecar(path)]
    person = word_of("participants")
    (root / "participants.tsv").write_text(
        f"participant_id\tage\tname\tsex\tborn\nsub-01\t60\t{person}\tF\t1917-02-06\n"
    )
    return root, sorted({*words, person, "1917-02-06"})


def _refuse(*_: object) -> None:
    raise AssertionError("the network was used")


@pytest.fixture(scope="module")
def ran(planted, quick: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The derivatives, in another tree, whose files between the stages lie in a third one."""
    root, _ = planted
    out = tmp_path_factory.mktemp("made") / "out"
    work = tmp_path_factory.mktemp("between") / PLACE / "work"
    with pytest.MonkeyPatch.context() as patch:
        put_in_place(patch.setattr)
        patch.setattr(socket.socket, "connect", _refuse)  # nothing is asked of any other machine
        patch.setattr(places, "_SHARED", 99)  # as where data and derivatives lie in unlike trees
        words = ["run", str(root), str(out)]
        more = ["--config", str(quick), "--threads", "1", "--workers", "1", "--work", str(work), "--reference", "A"]
        assert main([*words, "participant", *more]) == 1  # of the arm that cannot be used
        main([*words, "group", "--reference", "A"])
    return out


def test_something_was_planted_and_made(planted, ran: Path) -> None:
    root, words = planted
    assert {line.rpartition(": ")[2] for line in leaks(words, root)} == set(words)
    assert (ran / "sub-01.html").is_file() and (ran / "group.html").is_file()
    assert "acq-C" in (ran / "logs" / "sub-01.log").read_text()


def test_nothing_of_it_is_in_what_was_made(planted, ran: Path) -> None:
    _, words = planted
    assert leaks([*words, PLACE], ran) == []


def test_whole_paths_are_nowhere(planted, ran: Path) -> None:
    """Neither of the data, nor of the derivatives, the program, Python or the user's home."""
    root, _ = planted
    folders = {str(root.parent), str(ran.parent), sys.prefix, str(Path(__file__).parents[2]), f"{Path.home()}/"}
    found = [line for line in leaks(folders, ran) if ".dlqsm.lock" not in line]
    assert found == []


def test_single_commands_tell_nothing(
    planted, ran: Path, quick: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, words = planted
    monkeypatch.setattr(places, "_SHARED", 99)
    anat = root / "sub-01" / "anat"
    images = {part: sorted(map(str, anat.glob(f"*acq-A*part-{part}*.nii.gz"))) for part in ("mag", "phase")}
    maps, labels = tmp_path / "maps", next((ran / "sub-01" / "anat").glob("*acq-A*dseg.nii.gz"))
    where = ("--magnitude", *images["mag"], "--phase", *images["phase"], "--config", str(quick), "--threads", "1")
    assert main(["qsm", str(maps), *where]) == 0
    table = tmp_path / "nuclei.tsv"
    names = ("--labels", str(labels), "--names", str(labels).replace(".nii.gz", ".tsv"))
    assert main(["nuclei", str(maps / "Chimap.nii.gz"), str(table), *names, "--participant", "01", "--arm", "A"]) == 0
    assert main(["report", str(maps)]) == 0
    assert leaks(words, tmp_path, told="".join(capfd.readouterr())) == []
    assert leaks([PLACE], tmp_path) == []
    summary = json.loads((maps / "qsm.json").read_text())
    assert summary["sources"]["phase"] == [Path(image).name for image in images["phase"]]


def test_pages_find_images_in_the_same_tree(tmp_path: Path, quick: Path) -> None:
    write_scan(tmp_path / "bids", signal(), sub="1")
    anat = tmp_path / "bids" / "sub-1" / "anat"
    images = {part: sorted(map(str, anat.glob(f"*part-{part}*.nii.gz"))) for part in ("mag", "phase")}
    words = ["qsm", str(tmp_path / "maps"), "--magnitude", *images["mag"], "--phase", *images["phase"]]
    assert main([*words, "--config", str(quick), "--threads", "1", "--quiet"]) == 0
    assert main(["report", str(tmp_path / "maps"), "--quiet"]) == 0
    page = (tmp_path / "maps" / "report.html").read_text()
    assert "Magnitude" in page
    assert "not shown (no magnitude" not in page


class TestPlaces:
    def test_the_way_is_told_within_one_tree_alone(self) -> None:
        assert told_place(Path("/data/study/bids"), Path("/data/study/derivatives/dlqsm")) == "../../bids"
        assert told_place(Path("/home/doe/bids"), Path("/scratch/out")) == "bids"
        assert told_place(Path("/home/doe/bids"), Path("/home/roe/out")) == "bids"
        assert told_place(Path("/home/doe/bids"), Path("/home/doe/out")) == "../bids"

    def test_texts_lose_folders_and_keep_the_rest(self) -> None:
        names = {Path("/data/study/bids"): "BIDS", Path("/home/doe"): "~"}
        text = 'File "/home/doe/venv/x.py", line 3: /data/study/bids/sub-1/a.nii: 2/3 of /scratch/roe/b.nii, ppb/year'
        assert without_places(text, names) == (
            'File "~/venv/x.py", line 3: BIDS/sub-1/a.nii: 2/3 of .../b.nii, ppb/year'
        )
        assert without_places("see https://doi.org/10.1002/mrm.1 and /data/study/bids2/x", names) == (
            "see https://doi.org/10.1002/mrm.1 and .../x"
        )
