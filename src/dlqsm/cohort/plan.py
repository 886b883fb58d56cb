"""What a run does, decided before it starts: options for all participants, and the arms of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from dlqsm.cohort.records import Fingerprints
from dlqsm.config import QsmConfig
from dlqsm.core.arm_names import reference_among
from dlqsm.core.checks import InputError
from dlqsm.core.raw import calibration_region
from dlqsm.core.sampling_kind import is_uniform
from dlqsm.io.bids_names import label_of
from dlqsm.io.bids_sources import ArmSource, Dataset, Entities, ParticipantSource
from dlqsm.io.images import AS_STORED, PhaseOptions
from dlqsm.io.raw import read_raw
from dlqsm.reconstruction.slabs import SLAB_BYTES

FOR_UNIFORM: Final = "sense"
FOR_RANDOM: Final = "joint"
VIRTUAL_ATLAS: Final = "virtual"
USUAL_ATLAS: Final = "cit168"


@dataclass(frozen=True, slots=True)
class Plan:
    """What all participants of a run share.

    Parameters
    ----------
    bids, out, work
        Dataset, derivatives, and files between the stages.
    methods
        Reconstructions of raw data; one by the sampling of each scan where None.
    config
        Steps from echo images to susceptibility.
    reconstruction
        Options of reconstructions, by method.
    atlas
        ``cit168``, ``virtual`` or a folder.
    reference
        Arm that the others are registered to and compared with.
    like_paper
        Whether nuclei are measured on the reference arm's grid.
    phase
        What the user says of the phase: of its unit and polarity for images, of its sign for raw data too.
    uncertainty
        Realisations of the noise from which that of maps and nuclei is told; None where it is not.
    device
        Where volumes are computed, as PyTorch names it.
    threads
        Processor threads of one participant; PyTorch's own choice where None.
    seed
        Of the noise replica and the registration.
    keep_work
        Whether files between the stages stay once a participant is complete.
    overwrite
        Whether every stage runs, whatever its record says.
    retries
        How often a stage is tried again whose process was killed.
    stops_at_failure
        Whether no stage is begun once one has failed.
    saves_memory
        Whether raw data are reconstructed in thin slabs.
    command
        What was asked for, without places of this machine.
    run
        What tells this run from others: it does no stage twice, and counts its own tries only.
    """

    bids: Path
    out: Path
    work: Path
    methods: tuple[str, ...] | None
    config: QsmConfig
    atlas: str
    reference: str
    reconstruction: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    like_paper: bool = False
    phase: PhaseOptions = AS_STORED
    uncertainty: int | None = None
    device: str = "cpu"
    threads: int | None = None
    seed: int = 0
    keep_work: bool = False
    overwrite: bool = False
    retries: int = 1
    stops_at_failure: bool = False
    saves_memory: bool = False
    command: str = "dlqsm run"
    run: str = ""

    @property
    def slab_bytes(self) -> int:
        """Memory for the slabs of a reconstruction, whose values do not depend on it."""
        return SLAB_BYTES // 4 if self.saves_memory else SLAB_BYTES


def by_content(options: Mapping[str, Any], hash_of: Callable[[Path], str]) -> dict[str, Any]:
    """Options of a reconstruction as a record tells them: a file of weights by a hash of what it holds."""
    if options.get("weights") is None:
        return dict(options)
    return {**options, "weights": hash_of(Path(options["weights"]))}


@dataclass(frozen=True, slots=True)
class Arm:
    """One map of one participant: an acquisition, and how it is reconstructed (None for images)."""

    name: str
    label: str
    source: ArmSource
    method: str | None

    @property
    def entities(self) -> Entities:
        """Entities of its derivatives: those of the source, and ``rec-`` where dlqsm reconstructed."""
        if self.method is None:
            return self.source.entities
        entities = dict(self.source.entities)
        entities["rec"] = label_of(entities.get("rec", "") + self.method)
        return tuple(entities.items())


def default_method(*, uniform: bool) -> str:
    """The reconstruction for a sampling: SENSE where regular, else the best there is for random sampling."""
    return FOR_UNIFORM if uniform else FOR_RANDOM


def arm_names(source: ArmSource, plan: Plan) -> tuple[str, ...]:
    """Names of the maps that one acquisition gives, one a method; nothing is read for them."""
    if source.problem is None and source.raw is not None and plan.methods is not None and len(plan.methods) > 1:
        return _with_methods(source.name, plan.methods)
    return (source.name,)


def arms_of(source: ArmSource, label: str, plan: Plan, prints: Fingerprints) -> tuple[Arm, ...]:
    """The maps that one acquisition gives, in the order of `arm_names`.

    Raises
    ------
    InputError
        If the acquisition cannot be used, or its raw data cannot be read.
    """
    if source.problem:
        raise InputError(source.problem)
    methods: tuple[str | None, ...] = (None,)
    if source.raw is not None:
        methods = plan.methods or (default_method(uniform=_sampled_uniformly(source.raw, prints)),)
    return tuple(
        Arm(name, label, source, method) for name, method in zip(arm_names(source, plan), methods, strict=True)
    )


def choose_reference(dataset: Dataset, wanted: str | None, methods: Sequence[str] | None) -> str:
    """The reference arm as `reference_among` has it; of its first method where there are several.

    Raises
    ------
    InputError
        If no participant has the arm that was asked for.
    """
    plain, several = dataset.arm_names, methods is not None and len(methods) > 1
    raw = {a.name for p in dataset.participants for a in p.arms if a.raw}
    all_names = [n for name in plain for n in (_with_methods(name, methods) if several and name in raw else (name,))]
    return reference_among(all_names, wanted)


def choose_participants(
    dataset: Dataset, labels: Sequence[str] | None, sessions: Sequence[str] | None = None
) -> tuple[ParticipantSource, ...]:
    """The participants and sessions asked for, with or without ``sub-`` and ``ses-``; all where none is named.

    A participant without a session that was asked for is left out, as long as another one has it.

    Raises
    ------
    InputError
        If the dataset has no data of one of them.
    """
    known = list(dict.fromkeys(person.participant for person in dataset.participants))
    people = _named(dataset, "participant", known, labels, "sub-")
    chosen = tuple(person for person in dataset.participants if person.participant in people)
    if not sessions:
        return chosen
    there = sorted({arm.session for person in chosen for arm in person.arms if arm.session})
    if not there:
        raise InputError(f"{dataset.root}: has no sessions (ses-*) of these participants; leave --session-label out")
    wanted = _named(dataset, "session", there, sessions, "ses-")
    parts = [replace(p, arms=tuple(arm for arm in p.arms if arm.session in wanted)) for p in chosen]
    return tuple(part for part in parts if part.arms)


def _named(
    dataset: Dataset, what: str, known: Sequence[str], labels: Sequence[str] | None, prefix: str
) -> tuple[str, ...]:
    """The labels asked for, each once and with its prefix; all that are known where none is asked for."""
    wanted = tuple(dict.fromkeys(prefix + label.removeprefix(prefix) for label in labels or ())) or tuple(known)
    unknown = [label for label in wanted if label not in known]
    if unknown:
        shown = ", ".join(known[:8]) + (" ..." if len(known) > 8 else "")
        raise InputError(f"{dataset.root}: has no multi-echo data of {what} {unknown[0]}; it has {shown}")
    return wanted


def _with_methods(name: str, methods: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(f"{name}_{method}" for method in methods or ())


def _sampled_uniformly(raw: Path, prints: Fingerprints) -> bool:
    known = prints.remark(raw, "uniform")
    if known is None:
        mask = read_raw(raw).header.sampling_mask
        known = is_uniform(mask, calibration_region(mask))
        prints.note(raw, "uniform", known)
    return bool(known)
