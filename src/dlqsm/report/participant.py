"""What a page is made of: maps, tables and a summary of each arm, as plain data; the report knows no files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch

from dlqsm.core.checks import InputError, require_shape
from dlqsm.core.scan import Grid


@dataclass(frozen=True)
class Registration:
    """How one arm was registered, as the record tells it; what is not known is None or empty.

    Parameters
    ----------
    shift_mm, rotation_deg
        Rigid motion of the head against the reference arm: displacement of the brain's centre, and angle.
    score
        Similarity after registration; higher is better.
    score_name
        What the score is.
    coverage
        Nucleus to the share of it that lies inside the valid mask.
    told
        Further facts in words.
    warnings
        One sentence each.
    alarms
        As `core.alarms.Alarm` writes them.
    """

    shift_mm: float | None = None
    rotation_deg: float | None = None
    score: float | None = None
    score_name: str = "similarity"
    coverage: Mapping[str, float] = field(default_factory=dict)
    told: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    alarms: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class ArmMaps:
    """The maps of one scan or reconstruction; a volume that does not exist is None and is said to be missing.

    Parameters
    ----------
    name
        Arm, such as ``PI2``.
    acceleration
        Net acceleration factor; None where unknown.
    grid
        Grid of all volumes, each ``(x, y, z)``.
    magnitude, phase_rad
        Magnitude (any unit, one echo or a combination) and wrapped phase of one echo [rad].
    total_field_hz, local_field_hz
        Field before and after background removal [Hz].
    chi_ppm
        Susceptibility, referenced [ppm].
    mask
        Voxels where the susceptibility is valid, bool.
    labels
        Numbers of `core.labels.label_table`, 0 elsewhere.
    truth_chi_ppm
        True susceptibility on the same grid [ppm]; of virtual scans only.
    summary
        What is known of how the maps were made, all entries optional: ``scan`` (the content of ``scan.json``, and
        ``protocol``, ``sampling``, ``scan_time_s``), ``methods``, ``seconds``, ``convergence``, ``decisions``,
        ``references``, ``mask`` and ``alarms`` as in ``qsm.json``; read in `report.summary`.
    shown_echo_s
        Echo time of the phase shown [s]; None where unknown.
    common_mask
        Voxels where the susceptibility of all arms is valid, after registration; None where none was made.
    aligned_chi_ppm
        Susceptibility moved rigidly onto the leading arm's grid [ppm]; None where no registration was made.
    registration
        How the arm was registered; None where it was not.
    noise_hz
        Standard deviation of the total field by noise [Hz].
    """

    name: str
    acceleration: float | None
    grid: Grid
    magnitude: torch.Tensor | None
    phase_rad: torch.Tensor | None
    total_field_hz: torch.Tensor | None
    local_field_hz: torch.Tensor | None
    chi_ppm: torch.Tensor | None
    mask: torch.Tensor
    labels: torch.Tensor | None = None
    truth_chi_ppm: torch.Tensor | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)
    shown_echo_s: float | None = None
    common_mask: torch.Tensor | None = None
    aligned_chi_ppm: torch.Tensor | None = None
    registration: Registration | None = None
    noise_hz: torch.Tensor | None = None

    def __post_init__(self) -> None:
        for name in (*VOLUMES, "mask", "labels", "truth_chi_ppm", "common_mask"):
            volume = getattr(self, name)
            if volume is not None and tuple(volume.shape) != self.grid.shape:
                raise InputError(
                    f"{name} of arm {self.name} has shape {tuple(volume.shape)}; expected {self.grid.shape}, its grid's"
                )
        if not bool(self.mask.any()):
            raise InputError(f"the mask of arm {self.name} is empty; expected the voxels where susceptibility is valid")


@dataclass(frozen=True)
class ParticipantReport:
    """All that one page shows.

    Parameters
    ----------
    participant
        Name on the page.
    arms
        At least one; in the order shown.
    regions
        Rows of `nuclei.regions.measure_regions` for all arms; the optional column ``truth_ppb`` holds the true mean of
        the region, with the same reference. Empty where nothing was measured.
    similarity
        Column ``arm``, one column a measure of `agreement.similarity.compare_maps`, and ``reference``, what the arm was
        compared with (optional); None where nothing was compared.
    reference_arm
        Arm that the others are compared with.
    software
        Name to version; ``dlqsm`` first.
    """

    participant: str
    arms: tuple[ArmMaps, ...]
    regions: pd.DataFrame
    similarity: pd.DataFrame | None
    reference_arm: str | None
    software: Mapping[str, str]

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        if not names:
            raise InputError("a report needs at least one arm; got none")
        if self.reference_arm is not None and self.reference_arm not in names:
            raise InputError(f"reference arm '{self.reference_arm}' is not among the arms {', '.join(names)}")
        for arm in self.arms:
            if arm.aligned_chi_ppm is not None:
                whose = f"arm {self.leading.name}, onto which it was moved"
                require_shape(f"aligned map of arm {arm.name}", arm.aligned_chi_ppm, self.leading.grid.shape, whose)

    @property
    def reference(self) -> ArmMaps | None:
        """The reference arm, where one is named."""
        return next((arm for arm in self.arms if arm.name == self.reference_arm), None)

    @property
    def leading(self) -> ArmMaps:
        """The arm that sets slice positions and scales: the reference, else the first."""
        return self.reference or self.arms[0]


VOLUMES = ("magnitude", "phase_rad", "total_field_hz", "noise_hz", "local_field_hz", "chi_ppm")
