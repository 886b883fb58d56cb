"""Memory that work needs, counted before it starts: bytes a voxel times voxels, beside what a process takes anyway."""

from __future__ import annotations

from dataclasses import dataclass

from dlqsm.core.checks import InputError

MB = 10**6


@dataclass(frozen=True, slots=True)
class Need:
    """The most that one piece of work holds at once.

    Parameters
    ----------
    fixed_mb
        Of the process with what it imports, and of what does not grow with the images [MB].
    voxel
        Bytes a voxel.
    echo
        Bytes a voxel and echo.
    coil
        Bytes a voxel, echo and coil.
    """

    fixed_mb: float
    voxel: float = 0.0
    echo: float = 0.0
    coil: float = 0.0

    def planned_bytes(self, n_voxels: int, n_echoes: int = 0, n_coils: int = 0) -> int:
        """Bytes for images of this size."""
        each = self.voxel + n_echoes * (self.echo + n_coils * self.coil)
        return round(self.fixed_mb * MB + n_voxels * each)


def in_words(n_bytes: int) -> str:
    """A number of bytes for people: ``640 MB``, ``2.4 GB``."""
    return f"{n_bytes / MB:.0f} MB" if n_bytes < 1000 * MB else f"{n_bytes / (1000 * MB):.1f} GB"


def plan_sentence(planned_bytes: int, free_bytes: int) -> str:
    """What is told before work starts."""
    return f"Memory: about {in_words(planned_bytes)} planned, {in_words(free_bytes)} free"


def require_granted(planned_bytes: int, granted_mb: float | None, remedy: str) -> None:
    """Raise `InputError` where work needs more than ``--mem`` grants; ``remedy`` says what can be done."""
    if granted_mb is not None and planned_bytes > granted_mb * MB:
        raise InputError(f"needs about {planned_bytes / MB:.0f} MB, --mem grants {granted_mb:.0f} MB; {remedy}")


def require_possible(planned_bytes: int, total_bytes: int, remedy: str) -> None:
    """Raise `InputError` where work needs more than there is at all, were nothing else running."""
    if planned_bytes > total_bytes:
        raise InputError(
            f"needs about {planned_bytes / MB:.0f} MB, and this machine or container has {total_bytes / MB:.0f} MB in "
            f"all; {remedy}"
        )
