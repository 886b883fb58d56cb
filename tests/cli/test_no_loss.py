"""Files that a command did not make stay: without --overwrite nothing is replaced, whatever its name."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from raw_fixtures import small_raw

from dlqsm.acquisition.head import draw_participants
from dlqsm.acquisition.protocols import PROTOCOLS
from dlqsm.cli import main
from dlqsm.cli.virtual_dataset import Cohort, describe_dataset, remove_other_scans, require_virtual, write_people
from dlqsm.core.checks import InputError
from dlqsm.core.raw import MemoryRaw
from dlqsm.io.nifti import read_volume, write_volume
from dlqsm.io.outputs import write_json
from dlqsm.io.raw import write_raw

Refused = Callable[..., str]
QUICK = ("--background", "vsharp", "--inversion", "tkd", "--quiet")


def state(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def own(phantom: Path, tmp_path: Path) -> Path:
    """A folder of the user's, with images and files beside them."""
    folder = tmp_path / "own"
    shutil.copytree(phantom, folder)
    write_json(folder / "chi.json", {"Units": "ppm", "MadeBy": "hand"})
    write_json(folder / "field.json", {"Units": "ppm"})
    people = [(f"sub-{i:02d}", 30 + i, arm, "Pu", "both", 40.0 + i) for i in range(6) for arm in ("PI2", "DL3")]
    table = pd.DataFrame(people, columns=["participant_id", "age", "arm", "roi", "side", "mean_ppb"])
    table.to_csv(folder / "age.tsv", sep="\t", index=False)
    return folder


def words(command: str, own: Path) -> tuple[object, ...]:
    images = ("--magnitude", own / "magnitude.nii.gz", "--phase", own / "phase.nii.gz")
    mask = ("--mask", own / "mask.nii.gz")
    return {
        "qsm": ("qsm", own, *images, *mask, *QUICK),
        "nuclei": ("nuclei", own / "chi.nii.gz", own / "chi.tsv", "--labels", own / "labels.nii.gz",
                   "--names", own / "names.tsv", "--participant", "sub-01", "--arm", "PI2"),
        "agree": ("agree", own / "age.tsv", own, "--reference", "PI2"),
        "unwrap": ("unwrap", own / "phase.nii.gz", own / "phase.nii", *mask),
        "invert": ("invert", own / "field.nii.gz", own / "chi.nii", *mask, "--unit", "ppm", "--method", "tkd"),
        "background": ("background", own / "field.nii.gz", own / "chi.nii", *mask, "--unit", "ppm",
                       "--mask-out", own / "kept.nii.gz", "--method", "vsharp"),
    }[command]  # fmt: skip


@pytest.mark.parametrize("command", ["qsm", "nuclei", "agree", "unwrap", "invert", "background"])
def test_no_file_of_the_user_is_replaced(own: Path, refused: Refused, command: str) -> None:
    before = state(own)
    said = refused(*words(command, own))
    assert "exists already" in said and "--overwrite" in said
    assert state(own) == before


def test_a_field_and_its_mask_need_a_file_each(own: Path, refused: Refused) -> None:
    before = state(own)
    one = own / "one.nii.gz"
    said = refused("background", own / "field.nii.gz", one, "--mask", own / "mask.nii.gz", "--mask-out", one,
                   "--unit", "ppm")  # fmt: skip
    assert "need a file each" in said and state(own) == before


def test_new_results_leave_none_of_the_old_ones_beside_them(own: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    images = ("--magnitude", own / "magnitude.nii.gz", "--phase", own / "phase.nii.gz", "--mask", own / "mask.nii.gz")
    assert main([str(w) for w in ("qsm", out, *images, *QUICK)]) == 0
    (out / "report.html").write_text("the page of these maps")
    assert main([str(w) for w in ("qsm", out, *images, *QUICK, "--overwrite")]) == 0
    assert not (out / "report.html").exists() and (out / "R2starmap.nii.gz").exists()


def test_another_cohort_leaves_no_scan_of_the_former_one(tmp_path: Path) -> None:
    former = Cohort(PROTOCOLS["small"], ("PI2", "DL3"), seed=3)
    root, people = tmp_path / "cohort", draw_participants(2, seed=3)
    for person in people:
        for place in ("sourcedata", "derivatives/dlqsm-truth"):
            for arm in former.arms:
                file = root / place / person.label / "anat" / f"{person.label}_acq-{arm}_MEGRE.h5"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("a scan")
        (root / person.label / "anat").mkdir(parents=True)
        (root / person.label / "anat" / f"{person.label}_T1w.nii.gz").write_text("an image")
    describe_dataset(root, people, former)
    (root / "sub-002" / "notes.txt").write_text("somebody's")
    remove_other_scans(root, ["sub-001"], Cohort(PROTOCOLS["small"], ("PI2",), seed=9))
    left = {path.relative_to(root).as_posix() for path in root.rglob("sub-*/**/*") if path.is_file()}
    assert left == {
        "sourcedata/sub-001/anat/sub-001_acq-PI2_MEGRE.h5",
        "derivatives/dlqsm-truth/sub-001/anat/sub-001_acq-PI2_MEGRE.h5",
        "sub-001/anat/sub-001_T1w.nii.gz",
        "sub-002/notes.txt",
    }


def test_scans_of_no_virtual_cohort_stay(tmp_path: Path) -> None:
    write_json(tmp_path / "dataset_description.json", {"Name": "a study", "BIDSVersion": "1.10.0"})
    (tmp_path / "participants.tsv").write_text("participant_id\nsub-01\n")
    (tmp_path / "sub-01").mkdir()
    (tmp_path / "sub-01" / "sub-01_acq-X_T1w.nii.gz").write_text("an image")
    before = state(tmp_path)
    remove_other_scans(tmp_path, [], Cohort(PROTOCOLS["small"], ("PI2",), seed=9))
    assert state(tmp_path) == before


@pytest.mark.parametrize("options", [(), ("--overwrite",), ("--stream", "STREAM")])
@pytest.mark.parametrize("described", [True, False])
def test_a_virtual_cohort_takes_no_place_of_people(
    tmp_path: Path, refused: Refused, options: tuple[str, ...], described: bool
) -> None:
    root = tmp_path / "study"
    root.mkdir()
    (root / "participants.tsv").write_text("participant_id\tage\tsex\nsub-001\t61\tF\n")
    if described:
        write_json(root / "dataset_description.json", {"Name": "a study", "BIDSVersion": "1.10.0"})
    before = state(tmp_path)
    words = [str(tmp_path / "tables") if word == "STREAM" else word for word in options]
    sentence = refused("simulate", root, "--participants", 1, "--protocol", "small", *words)
    assert ("holds another dataset, named 'a study'" if described else "is of other people") in sentence
    assert state(tmp_path) == before


def test_tables_of_a_stream_and_undersampled_scans_take_no_place_of_another_dataset(
    tmp_path: Path, refused: Refused
) -> None:
    study, raw = tmp_path / "study", tmp_path / "raw" / "sourcedata" / "sub-01" / "anat" / "sub-01_MEGRE.h5"
    for folder in (study, raw.parent):
        folder.mkdir(parents=True)
    write_json(study / "dataset_description.json", {"Name": "a study", "BIDSVersion": "1.10.0"})
    all_lines = np.argwhere(np.ones((14, 9), bool)).astype(np.int32)
    header = replace(small_raw().header, lines=all_lines, calibration=np.ones(len(all_lines), bool))
    write_raw(raw, MemoryRaw(header, np.ones((len(all_lines), 2, 3, 20), np.complex64)))
    before = state(tmp_path)
    stream = ("simulate", tmp_path / "cohort", "--participants", 1, "--protocol", "small", "--stream", study)
    assert "named 'a study'; give another folder for --stream" in refused(*stream)
    lines = ("undersample", tmp_path / "raw", study, "--acceleration", 2, "--overwrite")
    assert "named 'a study'; give another folder for OUT" in refused(*lines)
    assert state(tmp_path) == before


def test_a_training_removes_no_slabs_that_none_wrote(tmp_path: Path, refused: Refused) -> None:
    mine = tmp_path / "slabs" / "of_tissue.txt"
    mine.parent.mkdir()
    mine.write_text("a year's work")
    said = refused("train", tmp_path, "--network", "cascade", "--virtual", 1, "--overwrite")
    assert f"{tmp_path / 'slabs'}: no training wrote it" in said and mine.is_file()


def test_other_factors_leave_no_copy_of_the_former_ones(tmp_path: Path, refused: Refused) -> None:
    """A run would take them for arms of the same study."""
    out, anat = tmp_path / "out", Path("sourcedata") / "sub-01" / "anat"
    header = small_raw().header
    lines = np.argwhere(np.ones((14, 9), bool)).astype(np.int32)
    header = replace(header, lines=lines, calibration=np.ones(len(lines), bool))
    for label in ("sub-01", "sub-02"):
        raw = tmp_path / "raw" / "sourcedata" / label / "anat" / f"{label}_MEGRE.h5"
        raw.parent.mkdir(parents=True)
        write_raw(raw, MemoryRaw(header, np.ones((len(lines), 2, 3, 20), np.complex64)))
    words = ["undersample", tmp_path / "raw", out, "--calibration", 4, 4, "--quiet", "--acceleration"]
    assert main([str(w) for w in [*words, 2, 3]]) == 0
    assert {path.name for path in (out / anat).iterdir()} == {
        "sub-01_MEGRE.h5", "sub-01_rec-AF2_MEGRE.h5", "sub-01_rec-AF3_MEGRE.h5",
    }  # fmt: skip
    shutil.rmtree(tmp_path / "raw" / "sourcedata" / "sub-02")
    (out / "dataset_description.json").unlink()  # as if the first call had been cut short
    before = state(out)
    assert "is of an earlier call with other options" in refused(*words, 2)
    assert state(out) == before
    assert main([str(w) for w in [*words, 3, 4, "--overwrite"]]) == 0
    assert {path.name for path in (out / anat).iterdir()} == {
        "sub-01_MEGRE.h5", "sub-01_rec-AF3_MEGRE.h5", "sub-01_rec-AF4_MEGRE.h5",
    }  # fmt: skip
    assert main([str(w) for w in [*words, 3, "--overwrite"]]) == 0
    assert {path.name for path in out.rglob("*.h5")} == {"sub-01_MEGRE.h5", "sub-01_rec-AF3_MEGRE.h5"}


def test_a_virtual_cohort_that_was_cut_short_leaves_no_scan_beside_another(tmp_path: Path) -> None:
    people, file = draw_participants(1, seed=3), "sub-001/anat/sub-001_acq-DL3_MEGRE.h5"
    write_people(tmp_path, people)
    (tmp_path / "sourcedata" / file).parent.mkdir(parents=True)
    (tmp_path / "sourcedata" / file).write_text("a scan")
    require_virtual(tmp_path, people)
    remove_other_scans(tmp_path, ["sub-001"], Cohort(PROTOCOLS["small"], ("PI2", "DL3"), seed=3))
    assert (tmp_path / "sourcedata" / file).is_file()
    remove_other_scans(tmp_path, ["sub-001"], Cohort(PROTOCOLS["small"], ("PI2",), seed=3))
    assert not (tmp_path / "sourcedata" / file).exists()


def test_a_cohort_that_was_cut_short_is_no_other_one(tmp_path: Path) -> None:
    cohort, people = Cohort(PROTOCOLS["small"], ("PI2",), seed=3), draw_participants(2, seed=3)
    describe_dataset(tmp_path, people, cohort)
    require_virtual(tmp_path, people)
    (tmp_path / "dataset_description.json").unlink()
    require_virtual(tmp_path, people)
    with pytest.raises(InputError, match="of other people"):
        require_virtual(tmp_path, people[:1])


@pytest.mark.parametrize(
    ("command", "unit", "told", "sentence"),
    [
        (("invert",), "ppm", "Hz", "says that the field is in 'Hz'; expected ppm"),
        (("background", "--mask-out", "kept.nii.gz"), "ppm", "Hz", "says that the field is in 'Hz'; expected ppm"),
        (("compare",), None, "Hz", "says that the map is in 'Hz'; expected ppm"),
    ],
)
def test_units_are_checked_where_a_sidecar_tells_them(
    own: Path, refused: Refused, command: tuple[str, ...], unit: str | None, told: str, sentence: str
) -> None:
    write_json(own / "field.json", {"Units": told})
    name, *more = command
    if unit is None:
        said = refused(name, own / "field.nii.gz", own / "chi.nii.gz", "--json", own / "new.json")
    else:
        more = [own / word if word.endswith(".gz") else word for word in more]
        said = refused(
            name, own / "field.nii.gz", own / "new.nii.gz", "--mask", own / "mask.nii.gz", "--unit", unit, *more
        )
    assert sentence in said and not (own / "new.json").exists() and not (own / "new.nii.gz").exists()


@pytest.mark.parametrize("given", [("ppb", "ppb"), ("chi", "ppb"), ("ppb", "chi")])
def test_maps_in_ppb_are_not_compared_as_ppm_without_a_sidecar(
    own: Path, refused: Refused, given: tuple[str, str]
) -> None:
    chi_ppm, grid = read_volume(own / "chi.nii.gz")
    write_volume(own / "ppb.nii.gz", 1000 * chi_ppm, grid)
    said = refused("compare", *(own / f"{name}.nii.gz" for name in given), "--json", own / "new.json")
    assert f"{own / 'ppb.nii.gz'}: half of its values are beyond" in said and "looks like ppb" in said
    assert not (own / "new.json").exists()


def test_echo_times_in_milliseconds_are_refused_by_invert_too(own: Path, refused: Refused) -> None:
    (own / "field.json").unlink()
    said = refused("invert", own / "field.nii.gz", own / "new.nii.gz", "--mask", own / "mask.nii.gz", "--unit", "rad",
                   "--field-strength", 3, "--echo-time", 20)  # fmt: skip
    assert "seconds" in said


NOWHERE = [
    (("sampling", ".", "--shape", 32, 32, "--acceleration", 3), "expected the name of a file"),
    (("compare", "MAP", "MAP", "--json", "."), "expected the name of a file"),
    (
        ("nuclei", "MAP", ".", "--labels", "MAP", "--names", "MAP", "--participant", "a", "--arm", "b"),
        "expected the name of a file",
    ),
    (("qsm", "", "--recon", "MAP"), "expected a path; got an empty text"),
    (("qsm", "OUT", "--magnitude", "", "--phase", ""), "expected a path; got an empty text"),
    (("agree", "MAP", ""), "expected a path; got an empty text"),
]


@pytest.mark.parametrize(("given", "sentence"), NOWHERE)
def test_no_place_is_refused(own: Path, refused: Refused, given: tuple[object, ...], sentence: str) -> None:
    places = {"MAP": own / "chi.nii.gz", "OUT": own / "new"}
    before = state(own)
    assert sentence in refused(*(places.get(word, word) if isinstance(word, str) else word for word in given))
    assert state(own) == before


NUMBERS = [
    (("invert", "F", "OUT", "--mask", "M", "--unit", "ppm", "--method", "tkd", "--threshold", "nan"), "finite number"),
    (("background", "F", "OUT", "--mask", "M", "--unit", "ppm", "--mask-out", "K", "--method", "lbv", "--tolerance",
      "inf"), "finite number"),
    (("qsm", "OUT", "--recon", "F", "--inversion-tolerance", "nan"), "finite number"),
    (("sampling", "OUT", "--shape", "32", "32", "--acceleration", "3", "--seed", "-1"), "zero or above"),
    (("simulate", "OUT", "--participants", "1", "--seed", "-1"), "zero or above"),
    (("simulate", "OUT", "--participants", "1000000000"), "--participants must be at most"),
    (("invert", "F", "OUT", "--mask", "M", "--unit", "ppm", "--method", "tkd", "--threshold", "0.2", "--method", "l1"),
     "--threshold"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "sentence"), NUMBERS)
def test_numbers_that_can_not_be_are_refused_before_any_work(
    own: Path, refused: Refused, given: tuple[str, ...], sentence: str
) -> None:
    places = {"F": own / "field.nii.gz", "M": own / "mask.nii.gz", "OUT": own / "new.nii.gz", "K": own / "kept.nii.gz"}
    assert sentence in refused(*(places.get(word, word) for word in given))
    assert not places["OUT"].exists()


def test_a_configuration_with_a_number_that_is_none_is_refused(own: Path, refused: Refused) -> None:
    (own / "config.toml").write_text('[inversion]\nmethod = "tkd"\nthreshold = nan\n')
    said = refused("qsm", own / "new", "--magnitude", own / "magnitude.nii.gz", "--phase", own / "phase.nii.gz",
                   "--config", own / "config.toml")  # fmt: skip
    assert "threshold" in said and "nan" in said


def test_a_file_that_tells_nothing_of_the_scan_is_refused(own: Path, refused: Refused) -> None:
    write_json(own / "scan.json", {"field_strength": 7, "EchoTimes": [0.003], "b0_dir": [1, 0, 0]})
    said = refused("qsm", own / "new", "--magnitude", own / "magnitude.nii.gz", "--phase", own / "phase.nii.gz",
                   "--scan", own / "scan.json")  # fmt: skip
    assert "tells nothing of a scan; expected any of b0_direction, echo_times_s" in said and "EchoTimes" in said


def test_options_that_swallow_a_folder_are_explained(own: Path, refused: Refused) -> None:
    said = refused("qsm", "--magnitude", own / "magnitude.nii.gz", "--phase", own / "phase.nii.gz", own / "new")
    assert "OUT_DIR" in said and "put folders and files before them" in said
    assert "put folders" not in refused("qsm", "--phase-unit", "rad")


@pytest.mark.parametrize("age", ["300", "-5", "inf"])
def test_an_age_that_can_not_be_is_refused_with_its_file(tmp_path: Path, refused: Refused, age: str) -> None:
    (tmp_path / "bids").mkdir()
    write_json(tmp_path / "bids" / "dataset_description.json", {"Name": "a", "BIDSVersion": "1.10.0"})
    (tmp_path / "bids" / "sub-01").mkdir()
    (tmp_path / "bids" / "participants.tsv").write_text(f"participant_id\tage\nsub-01\t{age}\n")
    said = refused("run", tmp_path / "bids", tmp_path / "out", "group")
    assert "participants.tsv" in said and "sub-01" in said and json.dumps(age) not in said
