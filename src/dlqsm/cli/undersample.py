"""Undersample raw k-space (ISMRMRD) retrospectively: keep round(NY NZ / R) of its (ky, kz) lines.

Of a BIDS dataset every fully sampled scan is undersampled, by each acceleration and each seed, into a new dataset that
holds the scans themselves too: `dlqsm run` on it compares them, as FULL with FULL_recAF3, FULL_recAF4 and so on. One
noise and one pose serve all of them, so that such a study tells what undersampling does and nothing else. Where no scan
is fully sampled, those that skip lines regularly (parallel imaging) are taken: the lines to keep are drawn among those
acquired, R still counts all cells, and the reference is the scan as acquired.

What raw data tell of subject, study and measurement, and what headers of T1-weighted images and participants.tsv tell
beside age and sex, is left behind unless --keep-identity is given.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dlqsm.cli.arguments import add_memory_argument, path
from dlqsm.cli.console import Talk, start
from dlqsm.cli.dataset_target import require_own
from dlqsm.cli.memory import state_memory
from dlqsm.cli.sampling import add_sampling_arguments, draw_sampling
from dlqsm.core.checks import InputError
from dlqsm.core.raw import SelectedRaw, undersample
from dlqsm.core.sampling_kind import FULL, UNIFORM, sampling_kind
from dlqsm.io.bids import DESCRIPTION, PARTICIPANTS, TRUTH, read_dataset
from dlqsm.io.bids_names import join_name
from dlqsm.io.bids_sources import ArmSource, Dataset
from dlqsm.io.files import visible
from dlqsm.io.nifti import has_texts, read_volume, write_volume
from dlqsm.io.outputs import (
    output_files,
    output_folder,
    read_json,
    remove_partial_files,
    whole_file,
    write_json,
)
from dlqsm.io.raw import read_raw, write_raw
from dlqsm.io.raw_identity import Identity, read_identity, tells_identity
from dlqsm.io.tables import read_table
from dlqsm.pipeline.memory import raw_copy_bytes, samples_bytes

NAME_END: Final = ", undersampled"
"""How the names of these datasets end."""
PASSED_ON: Final = ("participant_id", "age", "sex")
REGULAR: Final = "uniform"
"""Kind of sampling that needs every line to choose among."""
_WORDS: Final = {FULL: "fully sampled", UNIFORM: "by parallel imaging"}
_COPY: Final = re.compile(r"_rec-[A-Za-z0-9]*AF\d+(p\d+)?(s\d+)?_")


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments."""
    known = "ISMRMRD file, fully sampled or by parallel imaging, or a BIDS dataset of such"
    parser.add_argument("raw", type=path, metavar="FULL", help=known)
    parser.add_argument("out", type=path, metavar="OUT", help="file, or folder of the new dataset")
    parser.add_argument(
        "--keep-identity",
        action="store_true",
        help="pass on what the data tell of subject, study, day and place (default: leave it behind)",
    )
    add_memory_argument(parser)
    add_sampling_arguments(parser, words, several=True)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    talk, _ = start(arguments)
    if arguments.raw.is_dir():
        return _dataset(arguments, talk)
    if len(arguments.acceleration) > 1 or len(arguments.seed) > 1:
        raise InputError(
            f"{arguments.raw}: one file takes one --acceleration and one --seed; several are for a BIDS dataset"
        )
    with output_files(arguments.out, overwrite=arguments.overwrite):
        kept = _kept(arguments.raw, arguments, arguments.acceleration[0], arguments.seed[0])
        state_memory(arguments, talk, raw_copy_bytes(samples_bytes(kept.header)))
        write_raw(arguments.out, kept, identity=_identity(arguments.raw, arguments))
    talk.say(f"{_in_words(kept)}: {arguments.out}")
    return 0


def _kept(raw_path: Path, arguments: argparse.Namespace, acceleration: float, seed: int) -> SelectedRaw:
    """The lines of a raw file that a sampling keeps; raises `InputError` where one of them was never acquired."""
    raw = read_raw(raw_path)
    acquired = raw.header.sampling_mask
    _require_enough(raw_path, acquired, acceleration, arguments.kind)
    _, ny, nz = raw.header.grid.shape
    sampling = draw_sampling(arguments, (ny, nz), acceleration, seed, acquired)
    return undersample(raw, sampling.mask, sampling.calibration)


def _require_enough(raw_path: Path, acquired: NDArray[np.bool_], acceleration: float, kind: str) -> None:
    """Raise `InputError` where a sampling cannot be drawn among the lines that were acquired."""
    wanted, n = round(acquired.size / acceleration), int(acquired.sum())
    if wanted > n:
        raise InputError(
            f"{raw_path}: holds {n} lines (net acceleration {acquired.size / n:.2f}), fewer than the {wanted} that "
            f"--acceleration {acceleration:g} keeps; give a larger one"
        )
    if kind == REGULAR and sampling_kind(acquired) != FULL:
        raise InputError(
            f"{raw_path}: is not fully sampled (net acceleration {acquired.size / n:.2f}), so that no regular sampling "
            "can be drawn among its lines; leave --kind out, for a Poisson-disk one"
        )


def _identity(raw_path: Path, arguments: argparse.Namespace) -> Identity | None:
    return read_identity(raw_path) if arguments.keep_identity else None


def _in_words(kept: SelectedRaw) -> str:
    return f"{len(kept.header.lines)} lines kept, net acceleration {kept.header.acceleration:.4f}"


def _dataset(arguments: argparse.Namespace, talk: Talk) -> int:
    """Undersample every raw scan of a dataset into a new one."""
    dataset = read_dataset(arguments.raw)
    scans = [(person.participant, arm) for person in dataset.participants for arm in person.arms if arm.raw]
    if not scans:
        raise InputError(f"{arguments.raw}: has no raw data (sourcedata/sub-*/anat/*_MEGRE.h5) to undersample")
    if arguments.out.resolve() == arguments.raw.resolve():
        raise InputError(f"{arguments.out}: is the dataset itself; give another folder for OUT")
    require_own(arguments.out, f"*{NAME_END}", "OUT")
    full = _chosen(scans, arguments, talk)
    largest = max(samples_bytes(read_raw(_raw_of(arm)).header) for _, arm in full)
    state_memory(arguments, talk, raw_copy_bytes(round(largest / min(arguments.acceleration))))
    with output_folder(arguments.out, overwrite=arguments.overwrite, produces=(DESCRIPTION,)) as out:
        remove_partial_files(out)
        _remove_others(out, _planned(full, dataset, out, arguments), overwrite=arguments.overwrite)
        (out / DESCRIPTION).unlink(missing_ok=True)  # it comes last, and tells that the dataset is whole
        for label, arm in full:
            _scan(label, arm, dataset, out, arguments, talk)
        _describe(dataset, out, keep_identity=arguments.keep_identity)
    print(arguments.out)
    return 0


def _chosen(
    scans: Sequence[tuple[str, ArmSource]], arguments: argparse.Namespace, talk: Talk
) -> list[tuple[str, ArmSource]]:
    """The fully sampled scans, or where there are none those by parallel imaging; says which are left out."""
    masks = [read_raw(_raw_of(arm)).header.sampling_mask for _, arm in scans]
    kinds = [sampling_kind(mask) for mask in masks]
    taken = FULL if FULL in kinds else UNIFORM
    if taken not in kinds:
        raise InputError(
            f"{arguments.raw}: none of its {len(scans)} raw scans is fully sampled or skips lines regularly; "
            "nothing to undersample"
        )
    if taken == UNIFORM:
        talk.say("note: no scan is fully sampled; lines are drawn among those acquired by parallel imaging")
    for (label, arm), mask, kind in zip(scans, masks, kinds, strict=True):
        if kind == taken:
            _require_enough(_raw_of(arm), mask, min(arguments.acceleration), arguments.kind)
        else:
            talk.say(f"note: {label} {arm.name} is not {_WORDS[taken]} and is left out")
    return [scan for scan, kind in zip(scans, kinds, strict=True) if kind == taken]


def _scan(label: str, arm: ArmSource, dataset: Dataset, out: Path, arguments: argparse.Namespace, talk: Talk) -> None:
    """One scan and its undersampled copies."""
    source = _raw_of(arm)
    whole = _target(source, dataset, out)
    whole.parent.mkdir(parents=True, exist_ok=True)
    if arguments.keep_identity or not tells_identity(source):
        _link_or_copy(source, whole)
    else:
        write_raw(whole, read_raw(source))
    for acceleration, seed, name in _variants(arguments):
        kept = _kept(source, arguments, acceleration, seed)
        target = whole.with_name(_name_of(label, arm, name))
        write_raw(target, kept, identity=_identity(source, arguments))
        talk.say(f"{_in_words(kept)}: {target}")


def _target(source: Path, dataset: Dataset, out: Path) -> Path:
    return out / source.relative_to(dataset.root)


def _name_of(label: str, arm: ArmSource, variant: str) -> str:
    entities = {"sub": label.removeprefix("sub-"), **dict(arm.entities)}
    return join_name({**entities, "rec": entities.get("rec", "") + variant}, "MEGRE", ".h5")


def _planned(
    full: Sequence[tuple[str, ArmSource]], dataset: Dataset, out: Path, arguments: argparse.Namespace
) -> set[Path]:
    """Every raw file that the new dataset will hold."""
    wholes = {(label, arm.name): _target(_raw_of(arm), dataset, out) for label, arm in full}
    copies = {
        wholes[label, arm.name].with_name(_name_of(label, arm, name))
        for label, arm in full
        for _, _, name in _variants(arguments)
    }
    return {*wholes.values(), *copies}


def _remove_others(out: Path, planned: set[Path], *, overwrite: bool) -> None:
    """Remove raw data of an earlier call that this one does not replace: a run would take them for arms of this study.

    Where there is no description the earlier call was cut short; its copies are removed on request only.
    """
    is_own = (out / DESCRIPTION).is_file()
    for raw in visible((out / "sourcedata").glob("sub-*/**/*_MEGRE.h5")):
        if raw in planned or not (is_own or _COPY.search(raw.name)):
            continue
        if not overwrite:
            raise InputError(f"{raw}: is of an earlier call with other options; give --overwrite, or another OUT")
        raw.unlink()


def _variants(arguments: argparse.Namespace) -> Iterator[tuple[float, int, str]]:
    """Acceleration, seed, and the label of each copy; a point of the factor is written as p, as in AF2p5."""
    for acceleration in arguments.acceleration:
        for seed in arguments.seed:
            which = f"s{seed}" if len(arguments.seed) > 1 else ""
            yield acceleration, seed, f"AF{acceleration:g}".replace(".", "p") + which


def _describe(dataset: Dataset, out: Path, *, keep_identity: bool) -> None:
    """What the new dataset takes over: description, participants, T1w images, and the truth of virtual scans."""
    if (dataset.root / PARTICIPANTS).is_file():
        _copy_participants(dataset.root, out, keep_identity=keep_identity)
    for person in dataset.participants:
        if person.t1w is not None:
            target = out / person.t1w.relative_to(dataset.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            if keep_identity or not has_texts(person.t1w):
                _link_or_copy(person.t1w, target)
            else:
                write_volume(target, *read_volume(person.t1w))
    if (dataset.root / TRUTH).is_dir():
        shutil.copytree(dataset.root / TRUTH, out / TRUTH, copy_function=_link_or_copy, dirs_exist_ok=True)
    about = (
        read_json(dataset.root / DESCRIPTION) if (dataset.root / DESCRIPTION).is_file() else {"BIDSVersion": "1.10.0"}
    )
    write_json(out / DESCRIPTION, {**about, "Name": f"{dataset.name}{NAME_END}"})


def _copy_participants(root: Path, out: Path, *, keep_identity: bool) -> None:
    """The table of participants; of its columns those that `dlqsm run` reads, unless all are wanted."""
    columns = Path(PARTICIPANTS).with_suffix(".json").name
    if keep_identity:
        for name in (PARTICIPANTS, columns):
            if (root / name).is_file():
                with whole_file(out / name) as partial:
                    shutil.copyfile(root / name, partial)
        return
    table = read_table(root / PARTICIPANTS, ("participant_id",), as_text=True)
    table = table[[name for name in PASSED_ON if name in table.columns]]
    with whole_file(out / PARTICIPANTS) as partial:
        table.to_csv(partial, sep="\t", index=False, na_rep="n/a")
    if (root / columns).is_file():
        write_json(out / columns, {k: v for k, v in read_json(root / columns).items() if k in table.columns})


def _raw_of(arm: ArmSource) -> Path:
    assert arm.raw is not None
    return arm.raw


def _link_or_copy(source: str | Path, target: str | Path) -> None:
    """The same file under another name where the file system can, else a copy."""
    with whole_file(Path(target)) as partial:
        try:
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)
