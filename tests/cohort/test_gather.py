"""From the tables of participants to those of the group: names, ages and settings that are out of the ordinary."""

import json
from pathlib import Path

import pytest
from cohort_study import Run
from left_tables import measured, scanned

from dlqsm.cohort.group import gather
from dlqsm.cohort.participant import ALL, Key, Result, conclude
from dlqsm.cohort.plan import Plan, choose_reference
from dlqsm.config import QsmConfig
from dlqsm.core.arm_names import reference_among
from dlqsm.core.checks import InputError
from dlqsm.io.bids import read_dataset
from dlqsm.io.bids_sources import ArmSource, ParticipantSource


@pytest.mark.parametrize(("arms", "reference"), [(("1", "2", "3"), "2"), (("01", "02"), "02"), (("NA", "PI2"), "PI2")])
def test_arms_may_be_named_by_digits_or_like_a_missing_value(
    tmp_path: Path, arms: tuple[str, ...], reference: str
) -> None:
    people = [measured(tmp_path / "out", f"sub-0{i}", arms) for i in range(1, 4)]
    found = gather(people, tmp_path, tmp_path / "out")
    assert tuple(found.values["arm"].unique()) == arms == tuple(found.registration["arm"].unique())
    assert reference_among(arms, reference) == reference


@pytest.mark.parametrize(
    ("arms", "wanted", "reference"),
    [
        (("DL3_run-1", "PI2_run-1", "PI2_run-2"), None, "PI2_run1"),
        (("DL3_run-1", "PI2_run-1", "PI2_run-2"), "PI2", "PI2_run1"),
        (("DL3_run-1", "PI2_run-1", "PI2_run-2"), "PI2_run2", "PI2_run2"),
        (("DL3", "PI2", "PI2_run-2"), None, "PI2"),
        (("DL3", "PI2rep"), None, "DL3"),
    ],
)
def test_participants_and_group_have_one_reference(
    tmp_path: Path, arms: tuple[str, ...], wanted: str | None, reference: str
) -> None:
    scanned(tmp_path, "sub-01", arms)
    dataset = read_dataset(tmp_path)
    assert choose_reference(dataset, wanted, None) == reference
    # Tables tell the arms with the reference first.
    told = sorted(dataset.arm_names, key=lambda arm: (arm != reference, arm))
    assert reference_among(told, wanted) == reference


def test_the_group_knows_a_repeat_by_its_run_or_as_it_is_told(run: Run, tmp_path: Path) -> None:
    bids, out = tmp_path / "bids", tmp_path / "out"
    scanned(bids, "sub-01", ("DL3_run-1", "PI2_run-1", "PI2_run-2"))
    measured(out, "sub-01", ("PI2_run1", "DL3_run1", "PI2_run2"), rois=("RN",))
    assert run(bids, out, "group", "--repeat", "PI2_run3") == 2
    assert not (out / "group.json").exists()
    for named, repeat in (((), "PI2_run2"), (("--repeat", "DL3_run1"), "DL3_run1")):
        assert run(bids, out, "group", *named) == 0
        assert json.loads((out / "group" / "agreement.json").read_text())["Repeat"] == repeat
        assert f"{repeat} is PI2_run1 measured again" in (out / "group.html").read_text()


def test_a_reference_that_nobody_has_is_refused_by_both_stages(tmp_path: Path) -> None:
    scanned(tmp_path, "sub-01", ("DL3", "PI2rep"))
    for choose in (
        lambda: choose_reference(read_dataset(tmp_path), "PI2", None),
        lambda: reference_among(("DL3", "PI2rep"), "PI2"),
    ):
        with pytest.raises(InputError, match="the reference arm 'PI2'; choose one of DL3, PI2rep"):
            choose()


@pytest.mark.parametrize("listed", [None, "participant_id\tage\tsex\nsub-02\t50\tF\n"])
def test_the_age_at_a_session_counts_whether_or_not_participants_are_listed(tmp_path: Path, listed: str | None) -> None:
    if listed:
        (tmp_path / "participants.tsv").write_text(listed)
    for person, age in (("sub-01", 36), ("sub-02", 51)):
        (tmp_path / person).mkdir()
        (tmp_path / person / f"{person}_sessions.tsv").write_text(f"session_id\tage\nses-1\t{age}\n")
    people = [measured(tmp_path / "out", f"sub-0{i}_ses-1", ("PI2", "DL3")) for i in (1, 2)]
    found = gather(people, tmp_path, tmp_path / "out")
    assert found.values.groupby("participant_id")["age"].first().to_dict() == {"sub-01": 36.0, "sub-02": 51.0}
    assert not any("no age" in remark for remark in found.remarks)


def test_whose_settings_differ_is_named_the_same_in_every_run(tmp_path: Path) -> None:
    out = tmp_path / "out"
    two = [measured(out, "sub-01", ("PI2",), settings="a"), measured(out, "sub-02", ("PI2",), settings="b")]
    told = gather(two, tmp_path, out).problems
    assert list(told) == ["sub-02"] and "other settings than sub-01" in told["sub-02"]
    three = [*two, measured(out, "sub-03", ("PI2",), settings="b")]
    told = gather(three, tmp_path, out).problems
    assert list(told) == ["sub-01"] and "than most participants" in told["sub-01"]


@pytest.mark.parametrize(("nuclei", "is_taken"), [("failed", False), (None, False), ("run", True)])
def test_the_table_of_an_earlier_run_does_not_stand_for_one_that_failed(
    tmp_path: Path, nuclei: str | None, is_taken: bool
) -> None:
    """Nuclei are not begun where the run stops at the failure; arms that are mapped keep their table."""
    out = tmp_path / "out"
    people = [measured(out, f"sub-0{i}", ("PI2", "DL3")) for i in (1, 2)]
    results: dict[Key, Result] = {("qsm", "PI2"): Result("qsm", "PI2", "failed", failure="the phase is zero")}
    if nuclei is not None:
        results["nuclei", ALL] = Result("nuclei", ALL, nuclei)
    plan = Plan(tmp_path, out, tmp_path / "work", None, QsmConfig(), atlas="virtual", reference="PI2")
    conclude(ParticipantSource("sub-01", (ArmSource("PI2", ()),)), plan, results)
    found = gather(people, tmp_path, out)
    assert ("sub-01" in set(found.values["participant_id"])) == is_taken
    assert list(found.problems) == ["sub-01"] and "PI2: the phase is zero" in found.problems["sub-01"]
