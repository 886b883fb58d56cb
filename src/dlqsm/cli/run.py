"""Run a whole BIDS dataset: maps, nuclei and a page of every participant, then the group.

`participant` works on the scans, `group` compares the arms over all participants that are complete.

Raw data are sourcedata/sub-XX[/ses-YY]/anat/*_acq-ARM_MEGRE.h5, images sub-XX[/ses-YY]/anat/*_acq-ARM_echo-N
_part-mag|phase_MEGRE.nii.gz, or part-real|imag, or *_rec-uncombined_coil-N_*: of each receiver coil; for an arm with
both the raw data are taken. OUT receives BIDS derivatives: maps, label images, tables, sub-XX.html, and logs; the
group's tables and group.html. Each session of a participant stands by itself, with its own page, tables and group.
What is done is not done again: start the same command anew after an interruption. A participant that fails does not
stop the others; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import functools
import shlex
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dlqsm.cli.console import Talk
from dlqsm.cli.dataset_target import require_own
from dlqsm.cli.failure import one_sentence
from dlqsm.cli.phase_arguments import phase_options
from dlqsm.cli.report import build_group_page, build_page
from dlqsm.cli.run_group import run_group
from dlqsm.cli.run_options import APART, add_measure_arguments, add_output_arguments, add_selection_arguments
from dlqsm.cli.run_work import work_folder, working_alone
from dlqsm.cli.workers import add_machine_arguments, choose_workers, open_scheduler, start_for
from dlqsm.cohort.citation import citation_text
from dlqsm.cohort.nuclei_stage import known_atlas
from dlqsm.cohort.participant import STAGES, Hooks, Outcome
from dlqsm.cohort.plan import USUAL_ATLAS, VIRTUAL_ATLAS, Plan, choose_participants, choose_reference
from dlqsm.cohort.provenance import write_provenance
from dlqsm.cohort.schedule import Scheduler
from dlqsm.cohort.study_strength import with_study_strength
from dlqsm.config import QsmConfig, read_qsm_config, read_reconstruction_options
from dlqsm.core.checks import InputError
from dlqsm.core.realisations import require_realisations
from dlqsm.io.bids import read_dataset
from dlqsm.io.bids_filter import read_filters
from dlqsm.io.bids_sources import Dataset, ParticipantSource
from dlqsm.io.derivatives import NAME_START, describe, unit_folder
from dlqsm.io.images import AS_STORED
from dlqsm.io.manifest import GROUP_NAME, NAME, group_manifests
from dlqsm.io.outputs import output_folder, remove_partial_files


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments; those of BIDS Apps in both of their spellings."""
    parser.set_defaults(command=_without_places(words))
    add_selection_arguments(parser)
    add_measure_arguments(parser)
    add_output_arguments(parser)
    add_machine_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    talk, device = start_for(arguments)
    _require_apart(arguments.bids, arguments.out)
    # Workers may be elsewhere in the file system: paths are whole from here on.
    dataset = read_dataset(
        arguments.bids.absolute(),
        needs_data=arguments.level == "participant",
        filters=None if arguments.bids_filter_file is None else read_filters(arguments.bids_filter_file),
        sessions_apart=arguments.sessions == APART,
        is_checked=not arguments.skip_bids_validation,
    )
    people = choose_participants(dataset, arguments.participant_label, arguments.session_label)
    everyone = choose_participants(dataset, arguments.participant_label)
    without = sorted({person.participant for person in everyone} - {person.participant for person in people})
    left = [f"{', '.join(without)} have none of these sessions and are left out"] if without else []
    for note in (*dataset.notes, *_remark_on_sessions(dataset), *left):
        talk.say(f"note: {note}")
    if arguments.reports_only:
        return _reports(arguments, people)
    if arguments.level == "group":
        return run_group(arguments, dataset, people, talk)
    plan = _plan(arguments, dataset, str(device), talk)
    workers = choose_workers(arguments, people, plan, talk)
    plan = replace(plan, threads=workers.threads)
    with (
        output_folder(arguments.out, overwrite=True, produces=()) as out,
        working_alone(plan.work, plan.out),
        open_scheduler(workers, plan) as scheduler,
    ):
        remove_partial_files(out)
        raw_data = any(arm.raw is not None for person in people for arm in person.arms)
        describe(out, arguments.bids, dataset.name, plan.atlas, citation_text(plan, raw_data=raw_data))
        plan = with_study_strength(dataset.participants, people, plan, talk.say, scheduler.each)
        code = _participants(people, plan, scheduler, arguments, talk)
        remove_partial_files(out)  # of workers at an address that were killed; all stages have ended
        write_provenance(plan.out, plan.bids)
        return code


def _plan(arguments: argparse.Namespace, dataset: Dataset, device: str, talk: Talk) -> Plan:
    """Settle what the whole run shares, and say what was not asked for."""
    atlas = arguments.atlas or (VIRTUAL_ATLAS if dataset.is_virtual else USUAL_ATLAS)
    if arguments.atlas is None:
        talk.say(f"atlas: {atlas}" + (", since dlqsm simulate made this dataset" if dataset.is_virtual else ""))
    if atlas != VIRTUAL_ATLAS:
        known_atlas(atlas)  # raises now, not once for each participant
    if arguments.uncertainty is not None:
        require_realisations(arguments.uncertainty)
    needs_images = {"--bipolar": arguments.bipolar, "--coil-combination": arguments.coil_combination != AS_STORED.coils}
    if all(arm.raw for person in dataset.participants for arm in person.arms):
        for option in (name for name, given in needs_images.items() if given):
            raise InputError(f"{option} needs echo images; {arguments.bids} has raw data only: leave it out")
    reference = choose_reference(dataset, arguments.reference, arguments.method)
    talk.say(f"reference arm: {reference}")
    return Plan(
        bids=arguments.bids.absolute(),
        out=arguments.out.absolute(),
        work=work_folder(arguments.work, arguments.bids, arguments.out),
        methods=tuple(dict.fromkeys(arguments.method)) if arguments.method else None,
        config=QsmConfig() if arguments.config is None else read_qsm_config(arguments.config),
        reconstruction={} if arguments.config is None else read_reconstruction_options(arguments.config),
        atlas=atlas,
        reference=reference,
        like_paper=arguments.like_paper,
        phase=phase_options(arguments),
        uncertainty=arguments.uncertainty,
        device=device,
        threads=arguments.threads,
        seed=arguments.seed,
        keep_work=arguments.keep_work,
        overwrite=arguments.overwrite,
        retries=arguments.retries,
        stops_at_failure=arguments.stop_on_first_crash,
        saves_memory=arguments.low_mem,
        command=arguments.command,
        run=uuid.uuid4().hex[:12],
    )


def _participants(
    people: Sequence[ParticipantSource], plan: Plan, scheduler: Scheduler, arguments: argparse.Namespace, talk: Talk
) -> int:
    begun = time.perf_counter()
    hooks = Hooks(build_page, one_sentence)
    n_done, what = 0, "sessions" if any(person.session for person in people) else "participants"

    def ended(outcome: Outcome) -> None:
        nonlocal n_done
        n_done += 1
        talk.say(f"{outcome.label:<10} {_state(outcome)} ({n_done} of {len(people)} {what})")

    outcomes = scheduler.run_all(people, plan, hooks, functools.partial(listen, quiet=arguments.quiet), ended)
    print(summary_text(outcomes, time.perf_counter() - begun, f"{len(people)} {what}"))
    if len(outcomes) < len(people) or any(outcome.n_left for outcome in outcomes):
        print("stopped at the first failure, as asked; run again to go on where it stopped")
    failed = [outcome for outcome in outcomes if outcome.failures]
    for outcome in failed:
        for sentence in outcome.failures:
            print(f"dlqsm run: {outcome.label}: {sentence}", file=sys.stderr)
    return 1 if failed else 0


def summary_text(outcomes: Sequence[Outcome], wall_s: float, of: str | None = None) -> str:
    """Seconds of each participant and stage as a table; stages that had nothing to do show a dash.

    Parameters
    ----------
    outcomes, wall_s
        How each ended, and how long all took [s].
    of
        How many there were to do, and of what; as many participants as outcomes where None.
    """
    wide = max(12, *(len(outcome.label) + 1 for outcome in outcomes)) if outcomes else 12
    lines = [f"{'participant':<{wide}}" + "".join(f"{stage:>10}" for stage in (*STAGES, "total")) + "  state"]
    for outcome in outcomes:
        cells = [f"{outcome.seconds[s]:10.1f}" if s in outcome.seconds else f"{'-':>10}" for s in STAGES]
        total = sum(outcome.seconds.values())
        lines.append(f"{outcome.label:<{wide}}" + "".join(cells) + f"{total:10.1f}  {_state(outcome)}")
    n_failed = sum(bool(outcome.failures) for outcome in outcomes)
    ending = f"{len(outcomes) - n_failed} of {of or f'{len(outcomes)} participants'} complete"
    return "\n".join([*lines, f"{ending}, {wall_s:.1f} s wall time"])


def _state(outcome: Outcome) -> str:
    if outcome.failures:
        return "failed"
    return "complete" if outcome.n_run else "nothing to do"


def listen(line: str, *, quiet: bool) -> None:
    """Show a line of a participant's journal unless all shall be quiet."""
    if not quiet:
        print(line, file=sys.stderr, flush=True)


def _reports(arguments: argparse.Namespace, people: Sequence[ParticipantSource]) -> int:
    """Make the pages anew from what earlier runs left; nothing else is touched."""
    out = arguments.out
    if arguments.level == "group":
        if not out.is_dir():
            raise InputError(f"{out}: there is no such folder; run without --reports-only first")
        with output_folder(out, overwrite=True, produces=()):
            for page in [build_group_page(out, name) for name in group_manifests(out) or [GROUP_NAME]]:
                print(page)
        return 0
    there = [person for person in people if (unit_folder(out, person.label) / NAME).is_file()]
    if not there:
        raise InputError(f"{out}: has nothing of these participants to show; run without --reports-only first")
    with output_folder(out, overwrite=True, produces=()):
        for person in there:
            print(build_page(unit_folder(out, person.label)))
    for person in people:
        if person not in there:
            print(f"dlqsm run: {person.label}: has no results to show; run it first", file=sys.stderr)
    return 0 if len(there) == len(people) else 1


def _without_places(words: Sequence[str]) -> str:
    """The command as it was given, of paths their last parts: derivatives are passed on, folders of a machine not."""
    shown = ["dlqsm", "run"]
    for word in words:
        flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        shown.append(flag + equals + _last_part(value))
    return shlex.join(shown)


def _last_part(value: str) -> str:
    """A file or folder without where it lies, and no address of another machine."""
    if "://" in value:
        return "ADDRESS"
    return (Path(value).name or value) if "/" in value else value


def _remark_on_sessions(dataset: Dataset) -> list[str]:
    """What is to be said where sessions stand by themselves and have nothing in common that could be compared."""
    arms = {s: {a.name for p in dataset.participants if p.session == s for a in p.arms} for s in dataset.sessions}
    if len(arms) < 2 or sum(map(len, arms.values())) > len(set().union(*arms.values())):
        return []
    return ["the sessions have no arm in common and are not compared; --sessions together makes them arms of one study"]


def _require_apart(bids: Path, out: Path) -> None:
    """The derivatives need a folder that is no other dataset."""
    if out.resolve() == bids.resolve():
        raise InputError(f"{out}: is the dataset itself; give another folder for OUT, such as derivatives/dlqsm in it")
    require_own(out, f"{NAME_START}*", "OUT")
