"""What a BIDS dataset holds for dlqsm: participants or their sessions, and the arms of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dlqsm.io.bids_names import participant_of, session_of

Entities = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ArmSource:
    """Where the data of one arm lie: raw data, or images of each echo.

    Parameters
    ----------
    name
        Name in tables: the ``acq-`` label, and what else tells arms of a participant apart.
    entities
        Entities of its files without ``sub``, ``echo``, ``part`` and ``coil``, in BIDS order.
    raw
        ISMRMRD file; None where there are images only.
    magnitude, phase
        One image an echo, in the order of echoes; where there are several coils, those of one echo follow each other.
    problem
        Why the arm cannot be used, in one sentence that names the file; None where it can.
    n_coils
        Images an echo, one a receiver coil; 1 where they are combined.
    is_cartesian
        Whether ``magnitude`` and ``phase`` are the real and the imaginary images instead.
    """

    name: str
    entities: Entities
    raw: Path | None = None
    magnitude: tuple[Path, ...] = ()
    phase: tuple[Path, ...] = ()
    problem: str | None = None
    n_coils: int = 1
    is_cartesian: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that its values depend on; sidecars are not among them."""
        return (self.raw,) if self.raw else (*self.magnitude, *self.phase)

    @property
    def session(self) -> str | None:
        """Session of its files, with ``ses-``; None where their names have none."""
        label = dict(self.entities).get("ses")
        return f"ses-{label}" if label else None


@dataclass(frozen=True, slots=True)
class ParticipantSource:
    """A participant, or one session of one: whose arms are measured and compared together.

    Parameters
    ----------
    label
        ``sub-01``, or ``sub-01_ses-1`` for a session by itself.
    arms
        In the order of their names.
    t1w
        T1w image.
    notes
        What is remarkable of the data, in words.
    """

    label: str
    arms: tuple[ArmSource, ...]
    t1w: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def participant(self) -> str:
        """Whose scans these are, with ``sub-``."""
        return participant_of(self.label)

    @property
    def session(self) -> str | None:
        """Which session by itself, with ``ses-``; None for a participant without sessions, or with all together."""
        return session_of(self.label)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A BIDS dataset.

    Parameters
    ----------
    root, name
        Folder, and what the dataset calls itself.
    is_virtual
        Whether ``dlqsm simulate`` made it.
    participants
        Those with data that dlqsm can use, in the order of their labels; each session by itself unless asked otherwise.
    notes
        What the dataset lacks, in words.
    """

    root: Path
    name: str
    is_virtual: bool
    participants: tuple[ParticipantSource, ...]
    notes: tuple[str, ...] = ()

    @property
    def arm_names(self) -> tuple[str, ...]:
        """Names of the arms of all participants, each once, in the order in which they come."""
        return tuple(dict.fromkeys(arm.name for person in self.participants for arm in person.arms))

    @property
    def sessions(self) -> tuple[str | None, ...]:
        """Sessions that stand by themselves, each once, in their order; None for data without."""
        found = {person.session for person in self.participants}
        return tuple(sorted(found, key=lambda session: session or ""))
