"""Alarms of arms beside each other end up in the account of their registration, or stop the participant."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from dlqsm.cohort.family_alarms import family_alarms
from dlqsm.cohort.group import Gathered, alarm_rows, write_group_tables
from dlqsm.cohort.plan import Arm, Plan
from dlqsm.config import QsmConfig
from dlqsm.core.atlas import Atlas
from dlqsm.core.checks import InputError
from dlqsm.core.labels import label_table
from dlqsm.core.scan import Grid
from dlqsm.io.bids_sources import ArmSource
from dlqsm.io.derivatives import account_path, registration_path
from dlqsm.io.images import PhaseOptions
from dlqsm.io.outputs import write_json
from dlqsm.io.tables import read_table
from dlqsm.pipeline.nuclei import ArmNuclei

GRID = Grid((20, 16, 4), (2.0, 2.0, 2.0))


def _nuclei(name: str, *, mirrored: bool = False, rotation_deg: float = 0.5) -> ArmNuclei:
    labels = torch.zeros(GRID.shape, dtype=torch.uint8)
    for number, (_, side) in label_table().items():
        labels[4 if (side == "left") != mirrored else 14, number, 1:3] = number
    account = {"rotation_deg": rotation_deg, "translation_mm": 1.0}
    return ArmNuclei(name, GRID, labels.float(), labels, labels[None].float(), labels > 0, 0.0, account)


def _atlas() -> Atlas:
    volume = torch.zeros(GRID.shape)
    return Atlas("a", volume, False, torch.zeros(14, *GRID.shape), label_table(), GRID, volume > 0)


def _plan(folder: Path, accept: tuple[str, ...] = ()) -> Plan:
    phase = PhaseOptions(accept=accept)
    return Plan(folder, folder, folder / "work", None, QsmConfig(), "virtual", "PI2", phase=phase)


def _arms(folder: Path, **accelerations: float) -> list[Arm]:
    arms = [Arm(name, "sub-01", ArmSource(name, (("acq", name),)), None) for name in accelerations]
    for arm in arms:
        path = account_path(folder, arm.label, arm.entities)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"scan": {"acceleration": accelerations[arm.name]}, "figures": {"noise": 2.0}, "alarms": []})
    return arms


def test_motion_and_exchanged_arms_are_flagged(tmp_path: Path) -> None:
    arms = _arms(tmp_path, PI2=2.0, DL3=5.0, DL5=3.0)
    found = [_nuclei("PI2"), _nuclei("DL3", rotation_deg=5.0), _nuclei("DL5")]
    told = family_alarms(arms, found, "PI2", _atlas(), _plan(tmp_path))
    assert {name: [alarm.name for alarm in one.alarms] for name, one in told.items()} == {
        "PI2": [], "DL3": ["rotation"], "DL5": ["acceleration"],
    }  # fmt: skip
    assert told["DL3"].figures["noise_over_plan"] == pytest.approx((5.0 / 2.0) ** -0.5)
    right = family_alarms(_arms(tmp_path, PI2=2.0, DL3=3.0, DL5=5.0), found, "PI2", _atlas(), _plan(tmp_path))
    assert not right["DL5"].alarms


def test_exchanged_sides_stop_unless_accepted(tmp_path: Path) -> None:
    arms, found = _arms(tmp_path, PI2=2.0), [_nuclei("PI2", mirrored=True)]
    with pytest.raises(InputError, match=r"^arm PI2: .*left and right are exchanged.*--accept-alarm sides"):
        family_alarms(arms, found, "PI2", _atlas(), _plan(tmp_path))
    told = family_alarms(arms, found, "PI2", _atlas(), _plan(tmp_path, ("sides",)))
    assert [(alarm.name, alarm.level) for alarm in told["PI2"].alarms] == [("sides", "stop")]


def test_the_group_has_a_table_of_all_alarms(tmp_path: Path) -> None:
    alarm = {"name": "rotation", "level": "flag", "value": 5.0, "limit": 4.0, "text": "it turned"}
    (arm,) = _arms(tmp_path, PI2=2.0)
    path = account_path(tmp_path, arm.label, arm.entities)
    write_json(path, {**json.loads(path.read_text()), "alarms": [{**alarm, "name": "noise"}]})
    write_json(registration_path(tmp_path, "sub-01"), {"PI2": {"alarms": [alarm]}, "DL3": {"warnings": []}})
    rows = alarm_rows(tmp_path, "sub-01")
    assert [(row["arm"], row["alarm"]) for row in rows] == [("PI2", "noise"), ("PI2", "rotation")]
    values = pd.DataFrame({"participant_id": ["sub-01"]})
    written = write_group_tables(Gathered(values, pd.DataFrame(), pd.DataFrame(), alarms=pd.DataFrame(rows)), tmp_path)
    table = read_table(
        tmp_path / written["alarms"], ("participant_id", "arm", "alarm", "level", "value", "limit", "text")
    )
    assert list(table["value"]) == [5.0, 5.0] and set(table["participant_id"]) == {"sub-01"}
