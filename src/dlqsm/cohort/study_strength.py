"""One strength of the penalty for a whole study: maps of unlike strength must not be compared."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from dlqsm.cohort.arm_stages import chosen_strength, qsm_key, recon_key, reconstruct_arm
from dlqsm.cohort.attempts import MARKER, attempt
from dlqsm.cohort.inputs import inputs_of_arm
from dlqsm.cohort.journal import Journal
from dlqsm.cohort.participant import names_of_places
from dlqsm.cohort.plan import Arm, Plan, arms_of
from dlqsm.cohort.schedule import Each, each_in_turn
from dlqsm.cohort.stages import alone, fingerprints_of, once, record_path, steady
from dlqsm.config import TABLES, QsmConfig
from dlqsm.core.checks import InputError
from dlqsm.core.methods import options_of
from dlqsm.io.bids_sources import ParticipantSource
from dlqsm.io.outputs import read_json, write_json

FILE: Final = Path("logs") / "strength.json"
N_PARTICIPANTS: Final = 3
"""Reference scans whose strengths the median is taken of; on simulated heads they lie within a fifth of each other."""


def with_study_strength(
    everyone: Sequence[ParticipantSource],
    asked: Sequence[ParticipantSource],
    plan: Plan,
    tell: Callable[[str], None],
    each: Each = each_in_turn,
) -> Plan:
    """Freeze the strength of an inversion that would choose it scan by scan.

    It is the median of what the reference arms of the first `N_PARTICIPANTS` participants of the dataset choose that
    can be mapped, whichever participants the run is about, so that runs on parts of a dataset agree. It is kept in
    ``logs`` of the derivatives and made anew where the inputs, the other options or the code have changed.

    Parameters
    ----------
    everyone, asked
        All participants of the dataset, and those of this run.
    plan
        Its configuration is left as it is where it gives a strength or its method chooses none.
    tell
        Called with a sentence.
    each
        Runs the choices of the arms, which take as long as their maps do.

    Returns
    -------
    The plan with the strength in its configuration.
    """
    if not chooses_strength(plan.config):
        return plan
    found = _known(everyone, plan)
    if found is None:
        keys, found = _choose(everyone, {person.label for person in asked}, plan, tell, each)
        if not found:
            tell(f"warning: {plan.reference} of nobody says anything of the strength: each scan chooses its own")
            return plan
        write_json(plan.out / FILE, {"keys": keys, "arm": plan.reference, "strengths_ppm": found})
    strength = statistics.median(found.values())
    tell(f"strength: {strength:.3g} ppm for all arms, the median of what {plan.reference} of {', '.join(found)} chose")
    return replace(plan, config=plan.config.with_step("inversion", None, {"strength": strength}))


def chooses_strength(config: QsmConfig) -> bool:
    """Whether the inversion would choose its strength scan by scan."""
    step = config.inversion
    option = options_of(TABLES["inversion"][step.method]).get("strength")
    return option is not None and option.default is None and step.options.get("strength") is None


def _reference_arms(everyone: Sequence[ParticipantSource], plan: Plan) -> Iterator[tuple[Arm, str]]:
    """The reference arms in their order, as far as their files can be read, each with the key of its maps."""
    quiet = replace(plan, uncertainty=None)  # noise that is asked for changes no choice
    for person in _one_of_each(everyone):
        prints = fingerprints_of(plan, person.label)
        for source in person.arms:
            try:
                arms = [arm for arm in arms_of(source, person.label, plan, prints) if arm.name == plan.reference]
                keys = [qsm_key(arm, quiet, prints) for arm in arms]
            except InputError:
                continue  # the participant's own run tells it
            yield from zip(arms, keys, strict=True)


def _one_of_each(everyone: Sequence[ParticipantSource]) -> list[ParticipantSource]:
    """Each participant once, in its first session: three sessions of one head say less than three heads."""
    first: dict[str, ParticipantSource] = {}
    for person in everyone:
        first.setdefault(person.participant, person)
    return list(first.values())


def _known(everyone: Sequence[ParticipantSource], plan: Plan) -> dict[str, float] | None:
    """Strengths that an earlier run chose from the same data by the same code."""
    if plan.overwrite or not (plan.out / FILE).is_file():
        return None
    content: dict[str, Any] = dict(read_json(plan.out / FILE))
    n_asked = max(N_PARTICIPANTS, len(content.get("keys", ())))
    keys = {arm.label: key for arm, key in islice(_reference_arms(everyone, plan), n_asked)}
    return dict(content["strengths_ppm"]) if content.get("keys") == keys else None


def _choose(
    everyone: Sequence[ParticipantSource], asked: set[str], plan: Plan, tell: Callable[[str], None], each: Each
) -> tuple[dict[str, str], dict[str, float]]:
    """Key of each participant who was asked, and the strengths; for one who cannot be mapped the next one is asked."""
    waiting = _reference_arms(everyone, plan)
    keys: dict[str, str] = {}
    found: dict[str, float] = {}
    while batch := list(islice(waiting, N_PARTICIPANTS - len(found))):
        tell(f"strength: asked of {', '.join(f'{arm.label} {arm.name}' for arm, _ in batch)}")
        for (arm, key), strength in zip(batch, each(strength_of, [(arm, plan) for arm, _ in batch]), strict=True):
            keys[arm.label] = key
            if isinstance(strength, float):
                found[arm.label] = strength
            else:
                tell(f"note: {arm.label} says nothing of the strength: {strength}")
            if arm.label not in asked:
                shutil.rmtree(plan.work / arm.label, ignore_errors=True)
    return keys, found


def strength_of(arm: Arm, plan: Plan) -> float | str:
    """Strength [ppm] that an arm chooses, reconstructed first where it is raw; a sentence where it fails.

    The participant's own run finds the reconstruction.
    """
    journal = Journal(plan.out / "logs" / f"{arm.label}.log", arm.label, lambda line: None, names_of_places(plan))
    prints = fingerprints_of(plan, arm.label)
    with alone(plan):
        try:
            if arm.method is not None:
                key = recon_key(arm, plan, prints)
                inputs = inputs_of_arm(arm, plan)
                work = steady(lambda: reconstruct_arm(arm, plan), key, lambda: recon_key(arm, plan, prints), inputs)
                once(plan, arm.label, arm.name, "recon", key, work, inputs, journal=journal)
            marker = record_path(plan, arm.label, arm.name, "strength").with_suffix(MARKER)
            with attempt(marker, plan.run, plan.retries):
                return chosen_strength(arm, plan)
        except Exception as error:
            return str(error) or type(error).__name__
