"""The strength of a study is the median of what three reference scans choose, and scans that fail are passed over."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dlqsm.cohort import study_strength
from dlqsm.cohort.plan import Plan
from dlqsm.cohort.study_strength import with_study_strength
from dlqsm.config import QsmConfig

Answers = dict[str, float | str]


class Asked:
    """Stands for the maps of the reference scans: each chooses what it is told to, or fails with a sentence."""

    def __init__(self, answers: Answers) -> None:
        self.answers, self.rounds, self.told = answers, [], []

    def arms(self, everyone: object, plan: object) -> Iterator[tuple[Any, str]]:
        for label in self.answers:
            yield SimpleNamespace(label=label, name="PI2"), f"key of {label}"

    def each(self, work: Callable[..., Any], jobs: Sequence[tuple[Any, ...]]) -> list[float | str]:
        self.rounds.append([arm.label for arm, _ in jobs])
        return [self.answers[arm.label] for arm, _ in jobs]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Answers], tuple[Asked, float | None]]:
    """Freeze the strength of a study whose reference scans answer so; again with each call."""

    def frozen(answers: Answers) -> tuple[Asked, float | None]:
        asked = Asked(answers)
        monkeypatch.setattr(study_strength, "_reference_arms", asked.arms)
        out, work = tmp_path / "out", tmp_path / "work"
        plan = Plan(tmp_path, out, work, None, QsmConfig(), atlas="virtual", reference="PI2")
        plan = with_study_strength([], [], plan, asked.told.append, asked.each)
        return asked, plan.config.inversion.options.get("strength")

    return frozen


def test_it_is_the_median_of_three(ask: Callable[..., tuple[Asked, float | None]]) -> None:
    asked, strength = ask({"sub-1": 3e-4, "sub-2": 1e-4, "sub-3": 2e-4, "sub-4": 9e-4})
    assert strength == 2e-4
    assert asked.rounds == [["sub-1", "sub-2", "sub-3"]]


def test_for_one_that_fails_the_next_is_asked_and_nobody_twice(
    ask: Callable[..., tuple[Asked, float | None]], tmp_path: Path
) -> None:
    answers: Answers = {"sub-1": "cut off", "sub-2": "no mask", "sub-3": 2e-4, "sub-4": "cut off", "sub-5": 4e-4}
    answers |= {"sub-6": 6e-4, "sub-7": 9e-4}
    asked, strength = ask(answers)
    assert strength == 4e-4
    assert asked.rounds == [["sub-1", "sub-2", "sub-3"], ["sub-4", "sub-5"], ["sub-6"]]
    kept = json.loads((tmp_path / "out" / "logs" / "strength.json").read_text())
    assert list(kept["keys"]) == list(answers)[:6] and list(kept["strengths_ppm"]) == ["sub-3", "sub-5", "sub-6"]
    again, same = ask(answers)
    assert again.rounds == [] and same == 4e-4
    mended, other = ask({"sub-0": 1e-4, **answers})  # a participant who comes first changes what was asked
    assert mended.rounds and other == 2e-4


def test_where_nobody_answers_it_is_told_and_nothing_is_kept(
    ask: Callable[..., tuple[Asked, float | None]], tmp_path: Path
) -> None:
    asked, strength = ask(dict.fromkeys(("sub-1", "sub-2", "sub-3", "sub-4"), "cut off"))
    assert strength is None
    assert asked.rounds == [["sub-1", "sub-2", "sub-3"], ["sub-4"]]
    assert asked.told[-1] == "warning: PI2 of nobody says anything of the strength: each scan chooses its own"
    assert not (tmp_path / "out" / "logs" / "strength.json").exists()
