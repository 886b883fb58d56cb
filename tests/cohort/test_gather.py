"""From the tables of participants to those of the group: names, ages and settings that are out of the ordinary."""

from pathlib import Path

import pandas as pd
import pytest

from dlqsm.cohort.group import gather, reference_among
from dlqsm.cohort.participant import ALL, RECORDS, Key, Result, conclude
from dlqsm.cohort.plan import Plan
from dlqsm.cohort.records import write_record
from dlqsm.config import QsmConfig
from dlqsm.core.labels import NUCLEI
from dlqsm.io.bids_sources import ArmSource, ParticipantSource
from dlqsm.io.derivatives import registration_path, table_path
from dlqsm.io.outputs import write_json
from dlqsm.io.tables import write_table


def measured(out: Path, label: str, arms: tuple[str, ...], *, settings: str = "same") -> ParticipantSource:
    """A participant whose stages left their tables, with made-up values."""
    person, _, session = label.partition("_")
    key = {"participant_id": person, **({"session_id": session} if session else {})}
    rows = [{**key, "arm": arm, "roi": roi, "side": "both", "mean_ppb": 10.0 * i} for arm in arms
            for i, roi in enumerate(NUCLEI)]  # fmt: skip
    table_path(out, label, "nuclei").parent.mkdir(parents=True, exist_ok=True)
    write_table(table_path(out, label, "nuclei"), pd.DataFrame(rows))
    compared = [{**key, "arm": arm, "reference": arms[0], "ssim": 0.8} for arm in arms[1:]]
    columns = [*key, "arm", "reference", "ssim"]
    write_table(table_path(out, label, "similarity"), pd.DataFrame(compared, columns=columns))
    write_json(registration_path(out, label), {arm: {"rotation_deg": 0.0} for arm in arms})
    write_record(out / RECORDS / label / "all_nuclei.json", "k", out, [], 1.0, settings=settings, code="1")
    return ParticipantSource(label, ())


@pytest.mark.parametrize(("arms", "reference"), [(("1", "2", "3"), "2"), (("01", "02"), "02"), (("NA", "PI2"), "PI2")])
def test_arms_may_be_named_by_digits_or_like_a_missing_value(
    tmp_path: Path, arms: tuple[str, ...], reference: str
) -> None:
    people = [measured(tmp_path / "out", f"sub-0{i}", arms) for i in range(1, 4)]
    found = gather(people, tmp_path, tmp_path / "out")
    assert tuple(found.values["arm"].unique()) == arms == tuple(found.registration["arm"].unique())
    assert reference_among(arms, reference) == reference


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
