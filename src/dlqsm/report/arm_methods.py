"""Methods and reporting tables of several arms: what all share is told once, what differs with its arms."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dlqsm.report.checklist import Item
from dlqsm.report.comparison import Comparison
from dlqsm.report.methods_text import STEPS, Sentence, method_sentences
from dlqsm.report.numbers import UNKNOWN
from dlqsm.report.summary import Known, methods_of


def arm_sentences(accounts: Mapping[str, Known]) -> list[Sentence]:
    """Each step once where all arms share it, else once a variant with the arms that it holds for."""
    methods = {arm: methods_of(account) for arm, account in accounts.items()}
    steps = dict.fromkeys([*STEPS, *(step for own in methods.values() for step in own)])
    found = []
    for step in steps:
        variants: dict[str, list[str]] = {}
        for arm, own in methods.items():
            if own.get(step):
                variants.setdefault(json.dumps(own[step], sort_keys=True, default=str), []).append(arm)
        for arms in variants.values():
            content: Mapping[str, Any] = {step: methods[arms[0]][step]}
            (sentence,) = method_sentences(content)
            where = f"{sentence.text} (arms {', '.join(arms)})"
            found.append(sentence if len(variants) == 1 else replace(sentence, text=where))
    return found


def arm_checklist(arms: Sequence[str], of_arm: Sequence[Sequence[Item]]) -> dict[str, Comparison]:
    """Title to a table with an arm a column, from the same lines of each arm; what all share stands once."""
    rows: dict[str, list[tuple[str, list[str]]]] = {}
    for same in zip(*of_arm, strict=True):
        texts = [UNKNOWN if item.value is None else item.value for item in same]
        rows.setdefault(same[0].table, []).append((same[0].name, texts[:1] if len(set(texts)) == 1 else texts))
    return {table: Comparison(list(arms), lines) for table, lines in rows.items()}
