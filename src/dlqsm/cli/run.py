"""Run a whole BIDS dataset: maps, nuclei and a page of every participant, then the group.

`participant` works on the scans, `group` compares the arms over all participants that are complete.

Raw data are sourcedata/sub-XX[/ses-YY]/anat/*_acq-ARM_MEGRE.h5, images sub-XX[/ses-YY]/anat/*_acq-ARM_echo-N
_part-mag|phase_MEGRE.nii.gz; for an arm with both the raw data are taken. OUT receives BIDS derivatives: maps, label
images, tables, sub-XX.html, and logs; the group's tables and group.html. What is done is not done again: start the
same command anew after an interruption. A participant that fails does not stop the others; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dlqsm.cli.agree_files import AGE, AGREEMENT, MIXED, write_agreement
from dlqsm.cli.arguments import path, positive
from dlqsm.cli.console import Talk
from dlqsm.cli.failure import one_sentence
from dlqsm.cli.phase_arguments import add_phase_arguments, phase_options
from dlqsm.cli.report import build_group_page, build_page
from dlqsm.cli.workers import add_machine_arguments, choose_workers, open_scheduler, start_for
from dlqsm.cohort.group import DEFINITIONS_NAME, GROUP, Gathered, gather, reference_among, write_group_tables
from dlqsm.cohort.nuclei_stage import known_atlas
from dlqsm.cohort.participant import STAGES, Hooks, Outcome
from dlqsm.cohort.plan import USUAL_ATLAS, VIRTUAL_ATLAS, Plan, choose_participants, choose_reference
from dlqsm.cohort.schedule import Scheduler
from dlqsm.cohort.study_strength import with_study_strength
from dlqsm.config import QsmConfig, read_qsm_config
from dlqsm.core.checks import InputError
from dlqsm.core.realisations import ENOUGH_REALISATIONS, require_realisations
from dlqsm.io.bids import DESCRIPTION, Dataset, ParticipantSource, read_dataset
from dlqsm.io.derivatives import NAME_START, describe
from dlqsm.io.images import AS_STORED
from dlqsm.io.manifest import GroupManifest, write_group_manifest
from dlqsm.io.outputs import output_folder, read_json, remove_partial_files
from dlqsm.reconstruction import RECONSTRUCTIONS

LEVELS = ("participant", "group")


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments; those of BIDS Apps in both of their spellings."""
    del words
    parser.add_argument("bids", type=path, metavar="BIDS", help="folder of the dataset")
    parser.add_argument("out", type=path, metavar="OUT", help="folder of the derivatives")
    parser.add_argument("level", choices=LEVELS, metavar="participant|group", help="stage of the analysis")
    parser.add_argument(
        "--participant-label",
        "--participant_label",
        nargs="+",
        metavar="ID",
        help="with or without sub- (default: all)",
    )
    measured = parser.add_argument_group("what is measured")
    measured.add_argument(
        "--method",
        nargs="+",
        choices=tuple(RECONSTRUCTIONS),
        metavar="M",
        help=f"reconstructions of raw data, of {', '.join(RECONSTRUCTIONS)}; several make several maps of each scan "
        "(default: sense for regular sampling, the best there is for random sampling)",
    )
    measured.add_argument("--config", type=path, metavar="F.toml", help="methods and options of the steps of dlqsm qsm")
    add_phase_arguments(measured)
    measured.add_argument(
        "--uncertainty", type=int, metavar="N",
        help="tell the noise of maps and nuclei (noise_sd_ppb) from N realisations: each takes one background removal "
        f"and inversion and one volume on disk; 8 to 16 are pooled, {ENOUGH_REALISATIONS} or more plain Monte Carlo",
    )  # fmt: skip
    measured.add_argument(
        "--atlas", metavar="cit168|virtual|DIR", help="(default: cit168; virtual for datasets of dlqsm simulate)"
    )
    measured.add_argument(
        "--reference", metavar="ARM", help="arm that the others are compared with (default: PI2, else the first)"
    )
    measured.add_argument(
        "--like-paper", "--like_paper", action="store_true", help="measure all arms on the reference arm's grid"
    )
    measured.add_argument(
        "--margin-ppb", "--margin_ppb", type=positive(float), default=3.0, metavar="X",
        help="group: mean difference that does not matter [ppb]; set it before you see the data (default: 3)",
    )  # fmt: skip
    add_machine_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    talk, device = start_for(arguments)
    _require_apart(arguments.bids, arguments.out)
    # Workers may be elsewhere in the file system: paths are whole from here on.
    dataset = read_dataset(arguments.bids.absolute(), needs_data=arguments.level == "participant")
    people = choose_participants(dataset, arguments.participant_label)
    for note in dataset.notes:
        talk.say(f"note: {note}")
    if arguments.level == "group":
        return _group(arguments, dataset, people, talk)
    plan = _plan(arguments, dataset, str(device), talk)
    workers = choose_workers(arguments, people, plan, talk)
    plan = replace(plan, threads=workers.threads)
    with (
        output_folder(arguments.out, overwrite=True, produces=()) as out,
        open_scheduler(workers, plan) as scheduler,
    ):
        remove_partial_files(out)
        describe(out, arguments.bids, dataset.name, plan.atlas)
        plan = with_study_strength(dataset.participants, people, plan, talk.say, scheduler.each)
        return _participants(people, plan, scheduler, arguments, talk)


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
        work=(arguments.work or arguments.out / "work").absolute(),
        methods=tuple(dict.fromkeys(arguments.method)) if arguments.method else None,
        config=QsmConfig() if arguments.config is None else read_qsm_config(arguments.config),
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
        run=uuid.uuid4().hex[:12],
    )


def _participants(
    people: Sequence[ParticipantSource], plan: Plan, scheduler: Scheduler, arguments: argparse.Namespace, talk: Talk
) -> int:
    begun = time.perf_counter()
    hooks = Hooks(build_page, one_sentence)
    n_done = 0

    def ended(outcome: Outcome) -> None:
        nonlocal n_done
        n_done += 1
        talk.say(f"{outcome.label:<10} {_state(outcome)} ({n_done} of {len(people)} participants)")

    outcomes = scheduler.run_all(people, plan, hooks, functools.partial(listen, quiet=arguments.quiet), ended)
    if plan.work.is_dir() and not any(plan.work.iterdir()):
        plan.work.rmdir()
    print(summary_text(outcomes, time.perf_counter() - begun))
    failed = [outcome for outcome in outcomes if outcome.failures]
    for outcome in failed:
        for sentence in outcome.failures:
            print(f"dlqsm run: {outcome.label}: {sentence}", file=sys.stderr)
    return 1 if failed else 0


def summary_text(outcomes: Sequence[Outcome], wall_s: float) -> str:
    """Seconds of each participant and stage as a table; stages that had nothing to do show a dash."""
    lines = [f"{'participant':<12}" + "".join(f"{stage:>10}" for stage in (*STAGES, "total")) + "  state"]
    for outcome in outcomes:
        cells = [f"{outcome.seconds[s]:10.1f}" if s in outcome.seconds else f"{'-':>10}" for s in STAGES]
        total = sum(outcome.seconds.values())
        lines.append(f"{outcome.label:<12}" + "".join(cells) + f"{total:10.1f}  {_state(outcome)}")
    n_failed = sum(bool(outcome.failures) for outcome in outcomes)
    ending = f"{len(outcomes) - n_failed} of {len(outcomes)} participants complete"
    return "\n".join([*lines, f"{ending}, {wall_s:.1f} s wall time"])


def _state(outcome: Outcome) -> str:
    if outcome.failures:
        return "failed"
    return "complete" if outcome.n_run else "nothing to do"


def listen(line: str, *, quiet: bool) -> None:
    """Show a line of a participant's journal unless all shall be quiet."""
    if not quiet:
        print(line, file=sys.stderr, flush=True)


def _group(arguments: argparse.Namespace, dataset: Dataset, people: Sequence[ParticipantSource], talk: Talk) -> int:
    """Tables and page of the group."""
    if not arguments.out.is_dir():
        raise InputError(f"{arguments.out}: there is no such folder; run the participant stage first")
    with output_folder(arguments.out, overwrite=True, produces=()) as out, talk.working("group"):
        gathered = gather(people, arguments.bids, out)
        arms = tuple(dict.fromkeys(gathered.values["arm"]))
        reference = reference_among(arms, arguments.reference)
        written = write_group_tables(gathered, out)
        answer, notes = _agreement(gathered, out, reference, arguments)
        write_group_manifest(out, _group_manifest(dataset, gathered, written, arms, reference, notes, out, arguments))
        page = build_group_page(out)
    for sentence in answer:
        talk.say(sentence)
    for sentence in (*gathered.remarks, *notes, *(f"{who}: {why}" for who, why in gathered.problems.items())):
        talk.say(f"note: {sentence}")
    print(page)
    return 1 if gathered.problems else 0


def _agreement(
    gathered: Gathered, out: Path, reference: str, arguments: argparse.Namespace
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Write the agreement study; returns its answer and its remarks."""
    if gathered.values["arm"].nunique() < 2:
        return (), (f"there is one arm only ({reference}); nothing can be compared",)
    folder = out / GROUP
    folder.mkdir(exist_ok=True)
    study = write_agreement(
        gathered.values, folder, reference=reference, margin_ppb=arguments.margin_ppb, seed=arguments.seed,
        accelerations=gathered.accelerations,
    )  # fmt: skip
    return study.answer, study.remarks


def _group_manifest(
    dataset: Dataset,
    gathered: Gathered,
    written: dict[str, str],
    arms: tuple[str, ...],
    reference: str,
    notes: tuple[str, ...],
    out: Path,
    arguments: argparse.Namespace,
) -> GroupManifest:
    people = dict.fromkeys(gathered.values["participant_id"])
    tables = {
        what: f"{GROUP}/{name}"
        for what, name in (("agreement", AGREEMENT), ("age", AGE), ("mixed", MIXED))
        if (out / GROUP / name).is_file()
    }
    return GroupManifest(
        dataset=dataset.name,
        arms=arms,
        reference_arm=reference,
        margin_ppb=arguments.margin_ppb,
        values=written["nuclei"],
        agreement=tables.get("agreement"),
        age=tables.get("age"),
        mixed=tables.get("mixed"),
        similarity=written.get("similarity"),
        registration=written.get("registration"),
        definitions=written.get(DEFINITIONS_NAME),
        figures=tuple(sorted(f"{GROUP}/{p.name}" for p in (out / GROUP).glob("*.svg"))),
        pages={label: f"{label}.html" for label in people if (out / f"{label}.html").is_file()},
        problems=gathered.problems,
        notes=(*gathered.remarks, *notes),
    )


def _require_apart(bids: Path, out: Path) -> None:
    """The derivatives need a folder that is no other dataset."""
    if out.resolve() == bids.resolve():
        raise InputError(f"{out}: is the dataset itself; give another folder for OUT, such as derivatives/dlqsm in it")
    if (out / DESCRIPTION).is_file():
        name = str(read_json(out / DESCRIPTION).get("Name", ""))
        if not name.startswith(NAME_START):
            raise InputError(f"{out}: holds another dataset, named '{name}'; give another folder for OUT")
