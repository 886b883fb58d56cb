"""The table of alarms says what it must; figures beyond a limit are told, and stop where they should."""

import pytest

from dlqsm.core.alarms import ALARMS, ARM, FAMILY, FLAG, STOP, acceptable, alarms_of, require_no_stop
from dlqsm.core.checks import InputError


@pytest.mark.parametrize("name", ALARMS)
def test_every_alarm_has_a_limit_and_its_sentence_tells_all(name: str) -> None:
    limit = ALARMS[name]
    assert limit.least is not None or limit.most is not None
    assert limit.level in (STOP, FLAG) and limit.of in (ARM, FAMILY) and limit.source
    for bound, beyond in ((limit.least, -1.0), (limit.most, 1.0)):
        if bound is None:
            continue
        value = bound + beyond * (1.0 + abs(bound))
        (alarm,) = alarms_of({name: value}, limit.of)
        assert (alarm.name, alarm.level, alarm.value, alarm.limit) == (name, limit.level, value, bound)
        assert alarm.text.startswith(limit.about) and limit.means in alarm.text and limit.remedy in alarm.text
        assert f"at {'least' if beyond < 0 else 'most'} " in alarm.text
        assert not alarms_of({name: bound}, limit.of)


def test_figures_that_are_not_known_raise_nothing() -> None:
    assert alarms_of({}, ARM) == ()
    assert alarms_of({"b0_axis": float("nan"), "no such figure": 9.0, "rotation": 90.0}, ARM) == ()
    assert [alarm.name for alarm in alarms_of({"rotation": 90.0}, FAMILY)] == ["rotation"]


def test_a_stop_raises_unless_it_is_accepted_and_a_flag_never() -> None:
    alarms = alarms_of({"echo_order": 9.0, "noise": 1e9}, ARM)
    assert [alarm.level for alarm in alarms] == [STOP, FLAG]
    with pytest.raises(InputError, match=r"^phase\.nii: .* 9 \(expected at most .*--accept-alarm echo_order"):
        require_no_stop(alarms, "phase.nii", ())
    require_no_stop(alarms, "phase.nii", ("echo_order",))
    require_no_stop(alarms[1:], "phase.nii", ())
    assert "echo_order" in acceptable(ARM) and "echo_order" not in acceptable(FAMILY) and "noise" not in acceptable(ARM)
