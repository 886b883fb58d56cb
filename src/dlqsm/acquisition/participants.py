"""Who is scanned, and how the head lies in the scanner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dlqsm.core.checks import InputError, require_choice
from dlqsm.core.scan import Affine, Vector

AGE_RANGE_YEARS: Final = (18.0, 75.0)
MEAN_AGE_YEARS: Final = 44.0
SD_AGE_YEARS: Final = 15.0
MALE_SHARE: Final = 22.0 / 59.0
SEXES: Final = ("male", "female")


@dataclass(frozen=True, slots=True)
class Participant:
    """One virtual person; everything about the head follows from this.

    Parameters
    ----------
    label
        Name, as in ``sub-001``.
    age_years
        Age [years].
    sex
        ``"male"`` or ``"female"``.
    seed
        Seed of everything drawn for this person.
    """

    label: str
    age_years: float
    sex: str
    seed: int

    def __post_init__(self) -> None:
        require_choice("sex", self.sex, SEXES)
        if not 0.0 < self.age_years < 120.0:
            raise InputError(f"participant {self.label} has age {self.age_years}; expected years between 0 and 120")


@dataclass(frozen=True, slots=True)
class Pose:
    """Rigid motion of the head in scanner space: p' = R p + t, R about the isocentre.

    Parameters
    ----------
    rotation_deg
        Rotation vector [deg]: axis in RAS scanner space times the angle.
    translation_mm
        Shift after the rotation [mm], RAS.
    """

    rotation_deg: Vector = (0.0, 0.0, 0.0)
    translation_mm: Vector = (0.0, 0.0, 0.0)

    @property
    def matrix(self) -> Affine:
        """Head mm to scanner mm, 4 x 4."""
        matrix: NDArray[np.float64] = np.eye(4)
        matrix[:3, :3] = Rotation.from_rotvec(self.rotation_deg, degrees=True).as_matrix()
        matrix[:3, 3] = self.translation_mm
        return matrix

    def after(self, first: Pose) -> Pose:
        """Return this motion of a head that lies as ``first``."""
        matrix = self.matrix @ first.matrix
        turn = Rotation.from_matrix(matrix[:3, :3]).as_rotvec(degrees=True)
        return Pose(_vector(turn), _vector(matrix[:3, 3]))


def _vector(values: NDArray[np.float64]) -> Vector:
    x, y, z = (float(value) for value in values)
    return x, y, z


def draw_participants(n: int, seed: int) -> list[Participant]:
    """Draw a population: ages 18 to 75 with mean 44 and SD 15, 22 men to 37 women.

    Ages follow the beta distribution on that range with these two moments; the share of men is met as closely as
    ``n`` allows.

    Parameters
    ----------
    n
        Number of participants, at least 1.
    seed
        Seed of the whole population.

    Raises
    ------
    InputError
        If ``n`` is below 1.
    """
    if n < 1:
        raise InputError(f"the number of participants must be 1 or more; got {n}")
    rng = np.random.default_rng(seed)
    youngest, oldest = AGE_RANGE_YEARS
    mean = (MEAN_AGE_YEARS - youngest) / (oldest - youngest)
    concentration = mean * (1 - mean) * ((oldest - youngest) / SD_AGE_YEARS) ** 2 - 1
    ages = youngest + (oldest - youngest) * rng.beta(mean * concentration, (1 - mean) * concentration, n)
    n_men = round(n * MALE_SHARE)
    sexes = rng.permutation(["male"] * n_men + ["female"] * (n - n_men))
    seeds = rng.integers(2**31, size=n)
    return [
        Participant(f"sub-{i:03d}", round(float(age), 1), str(sex), int(own))
        for i, (age, sex, own) in enumerate(zip(ages, sexes, seeds, strict=True), start=1)
    ]
