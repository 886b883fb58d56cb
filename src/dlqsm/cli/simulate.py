"""Make a virtual cohort as a BIDS dataset: raw ISMRMRD, a T1w image, and the truth of every scan.

Every arm of a participant is a scan of its own, with its own noise, pose, drift and shim; everything follows from the
seed. --scale makes the matrix and the number of coils smaller at the same field of view. With --stream the raw data
are mapped and measured as dlqsm run does, and dropped participant by participant: OUT keeps the list of participants,
the folder of --stream their tables; `dlqsm run OUT FOLDER group` then compares the arms. Give the same command again
after an interruption.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dlqsm.acquisition.conditions import AF_MODES, lines_of, parse_arm
from dlqsm.acquisition.head import draw_participants
from dlqsm.acquisition.protocols import PROTOCOLS, Protocol, protocol_from
from dlqsm.acquisition.tissue import FIELD_STRENGTH_T
from dlqsm.cli.arguments import add_memory_argument, path, positive, seed
from dlqsm.cli.console import Talk, start
from dlqsm.cli.memory import LARGER, room_bytes, state_memory
from dlqsm.cli.simulate_stream import stream, stream_config
from dlqsm.cli.virtual_dataset import (
    Cohort,
    describe_dataset,
    remove_other_scans,
    require_virtual,
    simulate_participant,
    write_people,
)
from dlqsm.cohort.plan import FOR_RANDOM, FOR_UNIFORM
from dlqsm.core.checks import InputError
from dlqsm.io.anatomy import load_anatomy
from dlqsm.io.bids import DESCRIPTION
from dlqsm.io.outputs import output_folder, remove_partial_files
from dlqsm.io.toml_file import read_toml
from dlqsm.pipeline.memory import simulation_bytes, virtual_study_bytes

MOST_PARTICIPANTS = 100_000
SAME_T = 0.25
"""Field strengths that differ by less are one as to relaxation [T]."""
ARMS = ("PI2", "DL3", "DL4", "DL5", "PI2rep")


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments."""
    del words
    parser.add_argument("out", type=path, metavar="OUT", help="folder of the BIDS dataset")
    parser.add_argument("--participants", type=positive(int), metavar="N", required=True)
    parser.add_argument("--seed", type=seed, default=0, help="(default: 0)")
    parser.add_argument("--protocol", default="small", metavar="paper|small|FILE.toml", help="(default: small)")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), metavar="ARM", help=f"(default: {' '.join(ARMS)})")
    parser.add_argument(
        "--scale", type=positive(float), default=1.0, metavar="X", help="matrix and coils, times the protocol's"
    )
    parser.add_argument("--coils", type=positive(int), metavar="N", help="number of coils (default: by --scale)")
    parser.add_argument(
        "--af-mode", choices=AF_MODES, default=AF_MODES[0],
        help="acceleration of each arm: of its name; that of the paper's scan time; or of its name at the paper's "
        "voxel size, of which a coarser scan holds the central part (default: nominal)",
    )  # fmt: skip
    add_memory_argument(parser)
    stream = parser.add_argument_group("stream")
    stream.add_argument(
        "--stream",
        type=path,
        metavar="FOLDER",
        help="map, measure and drop each participant; FOLDER keeps tables, pages and a small picture of each",
    )
    stream.add_argument(
        "--config", type=path, metavar="F.toml",
        help="methods and options of the steps, and options of reconstructions, as for dlqsm run",
    )  # fmt: skip
    stream.add_argument(
        "--workers", type=positive(int), default=1, metavar="N",
        help="participants side by side; the threads are split among them (default: 1)",
    )  # fmt: skip
    stream.add_argument(
        "--participant-label", nargs="+", metavar="ID", help="only these of the cohort (default: all that are not done)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    talk, device = start(arguments)
    cohort = Cohort(
        read_protocol(arguments.protocol).scaled(arguments.scale, arguments.coils),
        tuple(dict.fromkeys(arguments.arms)),
        arguments.seed,
        arguments.af_mode,
    )
    field_t = cohort.protocol.field_strength_t
    if abs(field_t - FIELD_STRENGTH_T) > SAME_T:
        talk.say(f"  note: fields are of {field_t:g} T; R2* and T1 of the virtual heads stay those of 3 T")
    if arguments.participants > MOST_PARTICIPANTS:
        raise InputError(f"--participants must be at most {MOST_PARTICIPANTS}; got {arguments.participants}")
    factors = [_acceleration(arm, cohort) for arm in cohort.arms]
    participants = draw_participants(arguments.participants, arguments.seed)
    require_virtual(arguments.out, participants)
    if arguments.stream is not None:
        _share_memory(arguments, cohort, factors, talk)
        return stream(arguments, cohort, participants, talk, str(device))
    _require_no_stream_options(arguments)
    state_memory(arguments, talk, simulation_bytes(cohort.protocol, min(factors)))
    anatomy = load_anatomy()
    with output_folder(arguments.out, overwrite=arguments.overwrite, produces=(DESCRIPTION,)) as root:
        remove_partial_files(root)
        remove_other_scans(root, [participant.label for participant in participants], cohort)
        (root / DESCRIPTION).unlink(missing_ok=True)  # it comes last, and tells that the dataset is whole
        write_people(root, participants)
        for participant in participants:
            simulate_participant(root, anatomy, participant, cohort, talk)
        describe_dataset(root, participants, cohort)
    print(arguments.out)
    return 0


def _acceleration(arm: str, cohort: Cohort) -> float:
    """Net acceleration of an arm over the matrix; raises `InputError` where there is no such arm."""
    protocol, chosen = cohort.protocol, parse_arm(arm, cohort.af_mode)
    if cohort.af_mode != "central":
        return chosen.acceleration
    return protocol.shape[1] * protocol.shape[2] / len(lines_of(chosen, protocol, cohort.seed, cohort.af_mode).lines)


def _share_memory(arguments: argparse.Namespace, cohort: Cohort, factors: list[float], talk: Talk) -> None:
    """Tell what participants side by side take; fewer of them where ``--mem`` grants less."""
    need = virtual_study_bytes(cohort.protocol, factors, (FOR_UNIFORM, FOR_RANDOM), stream_config(arguments))
    granted = room_bytes(arguments)
    if granted is not None and granted >= need:
        arguments.workers = min(arguments.workers, granted // need)
    state_memory(arguments, talk, need * (1 if granted is not None and granted < need else arguments.workers), LARGER)


def _require_no_stream_options(arguments: argparse.Namespace) -> None:
    given = {"--workers": arguments.workers != 1, "--participant-label": arguments.participant_label}
    for name, value in (given | {"--config": arguments.config}).items():
        if value:
            raise InputError(f"{name} belongs to --stream FOLDER; without it all participants are made one by one")


def read_protocol(name: str) -> Protocol:
    """A protocol by name, or from a TOML file.

    Raises
    ------
    InputError
        If there is neither a protocol nor a file of that name, or the file cannot be used.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    file = Path(name)
    if not file.is_file():
        raise InputError(f"unknown protocol '{name}'; choose one of {', '.join(PROTOCOLS)}, or name a TOML file")
    content = read_toml(file)
    try:
        return protocol_from(content)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
