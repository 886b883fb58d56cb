"""Names and places of BIDS, and what is said of those that are wrong; images are empty files, for none is opened."""

from pathlib import Path

import pytest

from dlqsm.core.checks import InputError
from dlqsm.io.bids import read_dataset, read_people
from dlqsm.io.bids_arms import FoundArm, arm_source
from dlqsm.io.bids_filter import BidsFilter
from dlqsm.io.bids_names import ENTITIES, join_name, label_of, split_name
from dlqsm.io.bids_sources import Dataset, ParticipantSource
from dlqsm.io.outputs import write_json
from dlqsm.io.sidecars import inherited_sidecar


def _touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def _echoes(stem: str, n: int = 2, ending: str = ".nii.gz") -> list[str]:
    return [f"{stem}_echo-{echo}_part-{part}_MEGRE{ending}" for echo in range(1, n + 1) for part in ("mag", "phase")]


def _coils(stem: str, n: int) -> list[str]:
    return [name.replace("_echo-", f"_coil-{coil:02d}_echo-") for coil in range(1, n + 1) for name in _echoes(stem)]


def _read(root: Path) -> tuple[Dataset, ParticipantSource]:
    dataset = read_dataset(root)
    return dataset, dataset.participants[0]


class TestNames:
    def test_a_name_comes_apart_and_together(self) -> None:
        name = "sub-01_ses-pi_acq-AF2_rec-cs_run-2_echo-1_part-phase_MEGRE.nii.gz"
        entities, suffix, extension = split_name(Path(name))
        assert (suffix, extension) == ("MEGRE", ".nii.gz")
        assert entities["acq"] == "AF2"
        assert entities["run"] == "2"
        assert join_name(dict(reversed(entities.items())), suffix, extension) == name

    def test_the_order_is_that_of_the_schema(self) -> None:
        schema = pytest.importorskip("bidsschematools.schema")
        loaded = schema.load_schema()
        theirs = [loaded.objects.entities[key].name for key in loaded.rules.entities]
        assert [key for key in theirs if key in ENTITIES] == list(ENTITIES)

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("sub-01_PI2_MEGRE.h5", "'PI2' in its name is no BIDS entity"),
            ("sub-01_acq-PI_2_MEGRE.h5", "'2' in its name is no BIDS entity"),
            ("sub-01_acq-a_acq-b_MEGRE.h5", "'acq' is twice in its name"),
            ("sub-01_arm-b_MEGRE.h5", "'arm' is an unknown entity"),
            ("sub-01_echo-one_MEGRE.nii", "must be a whole number"),
            ("sub-01_run-1_acq-b_MEGRE.h5", "expected sub-01_acq-b_run-1_MEGRE.h5"),
        ],
    )
    def test_a_wrong_name_is_told(self, name: str, said: str) -> None:
        with pytest.raises(InputError, match=name) as told:
            split_name(Path(name))
        assert said in str(told.value)

    def test_a_label_has_letters_and_digits_only(self) -> None:
        assert label_of("my atlas_2-b") == "myatlas2b"


class TestArms:
    def test_raw_data_and_images_become_arms_named_by_acq(self, tmp_path: Path) -> None:
        _touch(tmp_path, "sourcedata/sub-01/anat/sub-01_acq-PI2_MEGRE.h5", "sub-01/anat/sub-01_T1w.nii.gz")
        _touch(tmp_path, *_echoes("sub-01/anat/sub-01_acq-DL3", 3))
        _, person = _read(tmp_path)
        assert [(arm.name, arm.raw is not None, len(arm.phase)) for arm in person.arms] == [
            ("DL3", False, 3),
            ("PI2", True, 0),
        ]
        assert person.t1w is not None
        assert [p.name for p in person.arms[0].phase] == [
            f"sub-01_acq-DL3_echo-{n}_part-phase_MEGRE.nii.gz" for n in (1, 2, 3)
        ]

    def test_echoes_come_by_number_not_by_letter(self, tmp_path: Path) -> None:
        _touch(tmp_path, *_echoes("sub-01/anat/sub-01", 11))
        _, person = _read(tmp_path)
        assert [p.name.split("_")[1] for p in person.arms[0].magnitude] == [f"echo-{n}" for n in range(1, 12)]

    @pytest.mark.parametrize("n", [1, 4])
    def test_echoes_may_be_numbered_from_zero(self, tmp_path: Path, n: int) -> None:
        for part in ("mag", "phase"):
            _touch(tmp_path, *(f"sub-01/anat/sub-01_echo-{echo}_part-{part}_MEGRE.nii" for echo in range(n)))
        (arm,) = _read(tmp_path)[1].arms
        assert arm.problem is None
        assert [p.name.split("_")[1] for p in arm.phase] == [f"echo-{e}" for e in range(n)]

    def test_an_arm_without_an_echo_that_is_taken_has_a_problem(self) -> None:
        images = {(1, 0, part): Path(f"{part}.nii") for part in ("mag", "phase")}
        arm = arm_source("A", (), FoundArm(images=images), BidsFilter({"echo": ("2",)}))
        assert arm.problem is not None and "none of the echoes" in arm.problem

    def test_raw_data_win_over_images_and_this_is_said(self, tmp_path: Path) -> None:
        _touch(tmp_path, "sourcedata/sub-01/anat/sub-01_acq-PI2_MEGRE.h5", *_echoes("sub-01/anat/sub-01_acq-PI2"))
        _, person = _read(tmp_path)
        (arm,) = person.arms
        assert arm.raw is not None
        assert not arm.magnitude
        assert "raw data are taken" in person.notes[0]

    def test_names_hold_what_tells_arms_apart_and_no_more(self, tmp_path: Path) -> None:
        for session in ("pi", "dl"):
            for run in (1, 2):
                stem = f"sub-01_ses-{session}_acq-A_rec-x_run-{run}_MEGRE.h5"
                _touch(tmp_path, f"sourcedata/sub-01/ses-{session}/anat/{stem}")
        _touch(tmp_path, "sourcedata/sub-02/ses-pi/anat/sub-02_ses-pi_acq-A_rec-x_run-1_MEGRE.h5")
        dataset = read_dataset(tmp_path, sessions_apart=False)
        assert dataset.arm_names == ("sesdl_A_run1", "sesdl_A_run2", "sespi_A_run1", "sespi_A_run2")
        assert [arm.name for arm in dataset.participants[1].arms] == ["sespi_A_run1"]
        apart = read_dataset(tmp_path)
        assert [person.label for person in apart.participants] == ["sub-01_ses-dl", "sub-01_ses-pi", "sub-02_ses-pi"]
        assert apart.arm_names == ("A_run1", "A_run2")
        assert apart.sessions == ("ses-dl", "ses-pi")

    def test_images_of_coils_are_one_arm_of_several_images_an_echo(self, tmp_path: Path) -> None:
        _touch(tmp_path, *_coils("sub-01/anat/sub-01_acq-A_rec-uncombined", 11), *_echoes("sub-01/anat/sub-01_acq-A"))
        _, person = _read(tmp_path)
        assert [(arm.name, arm.n_coils, len(arm.phase)) for arm in person.arms] == [
            ("A", 1, 2),
            ("A_recuncombined", 11, 22),
        ]
        coils = [p.name.split("_coil-")[1].split("_part")[0] for p in person.arms[1].magnitude]
        assert coils == [f"{coil:02d}_echo-{echo}" for echo in (1, 2) for coil in range(1, 12)]

    def test_real_and_imaginary_images_are_taken_where_there_is_no_phase(self, tmp_path: Path) -> None:
        for acq, parts in (
            ("A", ("real", "imag")),
            ("B", ("mag", "real", "imag")),
            ("C", ("mag", "phase", "real", "imag")),
        ):
            _touch(tmp_path, *(f"sub-01/anat/sub-01_acq-{acq}_echo-1_part-{part}_MEGRE.nii" for part in parts))
        _, person = _read(tmp_path)
        assert [arm.is_cartesian for arm in person.arms] == [True, True, False]
        assert [path.name.split("part-")[1][:4] for path in person.arms[0].files] == ["real", "imag"]
        assert person.notes == (
            "sub-01 B: images of real and imag are taken, those of mag are left",
            "sub-01 C: images of mag and phase are taken, those of real and imag are left",
        )

    def test_the_t1w_image_is_that_of_the_session_where_it_has_one(self, tmp_path: Path) -> None:
        for session in ("1", "2"):
            _touch(tmp_path, f"sourcedata/sub-01/ses-{session}/anat/sub-01_ses-{session}_MEGRE.h5")
        _touch(tmp_path, "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz")
        first, second = read_dataset(tmp_path).participants
        assert second.t1w is not None and second.notes == ()
        assert first.t1w == second.t1w
        assert "of another session is taken" in first.notes[0]

    def test_what_a_system_keeps_beside_files_is_no_file_of_the_dataset(self, tmp_path: Path) -> None:
        """macOS writes ._NAME on foreign disks; a command that was killed leaves .partial-*-NAME."""
        anat, names = tmp_path / "sub-01" / "anat", [*_echoes("sub-01_acq-A"), "sub-01_T1w.nii.gz"]
        for hidden in ("._", ".partial-host-12-", ""):
            _touch(anat, *(hidden + name for name in names))
        _touch(tmp_path, "sourcedata/sub-01/anat/._sub-01_acq-B_MEGRE.h5")
        _, person = _read(tmp_path)
        assert [(arm.name, arm.problem, len(arm.files)) for arm in person.arms] == [("A", None, 4)]
        assert person.t1w == anat / "sub-01_T1w.nii.gz" and person.notes == ()

    def test_a_file_without_entities_has_a_name_too(self, tmp_path: Path) -> None:
        _touch(tmp_path, "sourcedata/sub-01/anat/sub-01_MEGRE.h5")
        assert read_dataset(tmp_path).arm_names == ("MEGRE",)

    @pytest.mark.parametrize(
        ("names", "said"),
        [
            (["sub-01/anat/sub-01_acq-A_MEGRE.nii.gz"], "has no echo-N"),
            (_echoes("sub-01/anat/sub-01_acq-A")[:-1], "echo 2 has no part-phase image"),
            (_echoes("sub-01/anat/sub-01_acq-A", 3)[2:], "echo 1 has no part-mag image"),
            ([f"sub-01/anat/sub-01_acq-A_echo-{e}_MEGRE.nii" for e in (0, 2)], "every echo from 0 on needs both"),
            (
                [*_echoes("sub-01/anat/sub-01_acq-A"), *_echoes("sub-01/anat/sub-01_acq-A", ending=".nii")],
                "is there twice",
            ),
            (["sub-01/anat/sub-01_acq-A_echo-1_part-real_MEGRE.nii.gz"], "echo 1 has no part-imag image"),
            (["sub-01/anat/sub-01_acq-A_echo-1_part-complex_MEGRE.nii.gz"], "part-complex is not read"),
            (_coils("sub-01/anat/sub-01_acq-A", 2)[:-1], "echo 2 of coil 2 has no part-phase image"),
            (
                [*_coils("sub-01/anat/sub-01_acq-A", 2), *_echoes("sub-01/anat/sub-01_acq-A")],
                "has no coil-N, as the other images of its arm have",
            ),
            (["sub-01/anat/sub-02_acq-A_echo-1_part-mag_MEGRE.nii.gz"], "lies in a folder of sub-01"),
            (["sub-01/ses-x/anat/sub-01_acq-A_echo-1_MEGRE.nii.gz"], "lies in a folder of ses-x"),
            (["sub-01/anat/sub-01_echo-1_acq-A_MEGRE.nii.gz"], "out of order"),
        ],
    )
    def test_what_is_wrong_with_an_arm_names_the_file_and_leaves_other_arms(
        self, tmp_path: Path, names: list[str], said: str
    ) -> None:
        _touch(tmp_path, "sourcedata/sub-01/anat/sub-01_acq-B_MEGRE.h5", *names)
        arms = {arm.name.split("_")[-1]: arm for arm in read_dataset(tmp_path).participants[0].arms}
        assert arms["B"].problem is None
        problem = arms["A"].problem or ""
        assert said in problem
        assert "sub-0" in problem

    def test_other_files_are_left_alone(self, tmp_path: Path) -> None:
        _touch(tmp_path, "sourcedata/sub-01/anat/sub-01_acq-B_MEGRE.h5", "sub-01/anat/sub-01_acq-B_echo-1_MEGRE.json")
        _touch(tmp_path, "sub-01/anat/notes_MEGRE.txt", "sub-01/func/sub-01_task-rest_bold.nii.gz")
        assert [arm.problem for arm in read_dataset(tmp_path).participants[0].arms] == [None]


class TestDatasets:
    def test_a_folder_that_is_no_dataset(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="there is no such folder"):
            read_dataset(tmp_path / "absent")
        with pytest.raises(InputError, match="folders sub-"):
            read_dataset(tmp_path)
        _touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz")
        with pytest.raises(InputError, match="no participant has multi-echo data"):
            read_dataset(tmp_path)

    def test_what_lacks_is_noted(self, tmp_path: Path) -> None:
        _touch(tmp_path, "sourcedata/sub-01/anat/sub-01_acq-B_MEGRE.h5", "sub-02/anat/sub-02_T1w.nii.gz")
        notes = " ".join(read_dataset(tmp_path).notes)
        assert "dataset_description.json is missing" in notes
        assert "sub-02 has no MEGRE data" in notes

    def test_only_simulated_datasets_are_virtual(self, tmp_path: Path) -> None:
        _touch(tmp_path, "sourcedata/sub-01/anat/sub-01_acq-B_MEGRE.h5")
        for makers, name, expected in (("dlqsm", "dlqsm virtual cohort", True), ("heudiconv", "virtual", False)):
            write_json(tmp_path / "dataset_description.json", {"Name": name, "GeneratedBy": [{"Name": makers}]})
            assert read_dataset(tmp_path).is_virtual is expected

    def test_ages_are_numbers_and_what_is_missing_is_missing(self, tmp_path: Path) -> None:
        assert read_people(tmp_path).empty
        (tmp_path / "participants.tsv").write_text(
            "participant_id\tage\tsex\nsub-01\t61.5\tF\n02\tn/a\tn/a\nsub-3\t89+\tM\n"
        )
        people = read_people(tmp_path)
        assert list(people["participant_id"]) == ["sub-01", "sub-02", "sub-3"]
        assert people["age"].tolist()[::2] == [61.5, 89.0]
        assert people["age"].isna().tolist() == [False, True, False]

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("id\tage\nsub-01\t3\n", "has no column participant_id"),
            ("participant_id\tage\nsub-01\told\n", "the age of sub-01 is no number"),
            ("participant_id\tage\nsub-01\t3\n01\t4\n", "lists sub-01 more than once"),
            ("", "cannot be read"),
        ],
    )
    def test_a_wrong_table_of_participants(self, tmp_path: Path, text: str, said: str) -> None:
        (tmp_path / "participants.tsv").write_text(text)
        with pytest.raises(InputError, match=r"participants\.tsv") as told:
            read_people(tmp_path)
        assert said in str(told.value)


def test_sidecars_nearer_to_the_image_override_those_above(tmp_path: Path) -> None:
    image = tmp_path / "sub-01" / "anat" / "sub-01_acq-A_echo-1_part-phase_MEGRE.nii.gz"
    _touch(tmp_path, str(image.relative_to(tmp_path)))
    write_json(tmp_path / "MEGRE.json", {"MagneticFieldStrength": 3.0, "EchoTime": 9.0, "Units": "arbitrary"})
    write_json(tmp_path / "part-phase_MEGRE.json", {"Units": "rad"})
    write_json(tmp_path / "acq-B_MEGRE.json", {"Units": "mrad"})
    write_json(tmp_path / "T1w.json", {"Units": "wrong"})
    own = image.with_name("sub-01_acq-A_echo-1_part-phase_MEGRE.json")
    write_json(own, {"EchoTime": 0.003})
    assert inherited_sidecar(image) == {"EchoTime": 0.003}  # outside a dataset only the file beside the image counts
    write_json(tmp_path / "dataset_description.json", {"Name": "x"})
    assert inherited_sidecar(image) == {"MagneticFieldStrength": 3.0, "EchoTime": 0.003, "Units": "rad"}
