"""The virtual head as nobody has it, for an atlas: template size and shape, population values, no texture."""

from __future__ import annotations

import numpy as np
import torch

from dlqsm.acquisition.deformation import Volumes
from dlqsm.acquisition.fractions import corrected_fractions
from dlqsm.acquisition.head import DEFORMATION_GRID, Head
from dlqsm.acquisition.participants import MEAN_AGE_YEARS, Participant
from dlqsm.acquisition.surroundings import make_surroundings
from dlqsm.acquisition.tissue import TISSUES, TissueValues
from dlqsm.acquisition.veins import named_veins
from dlqsm.core.anatomy import Anatomy
from dlqsm.core.units import PPB_PER_PPM, S_PER_MS


def undeformed_head(anatomy: Anatomy, *, scale: float = 1.0) -> Head:
    """The head that all virtual participants are deformed from, with mean tissue values at the mean age.

    Parameters
    ----------
    anatomy
        MNI template.
    scale
        Size relative to MNI152; 1 keeps distances in template millimetres.
    """
    texture = np.zeros(anatomy.grid.shape, dtype=np.float32)
    fractions = Volumes(torch.from_numpy(np.stack([*corrected_fractions(anatomy), texture])), anatomy.grid)
    nothing = Volumes(torch.zeros((3, *DEFORMATION_GRID.shape)), DEFORMATION_GRID)
    somebody = Participant("atlas", MEAN_AGE_YEARS, "female", 0)
    values = {name: _mean_values(name) for name in TISSUES}
    values["ventricle"] = values["CSF"]
    return Head(anatomy, somebody, scale, nothing, make_surroundings(anatomy), fractions, named_veins(), values)


def _mean_values(name: str) -> TissueValues:
    row = TISSUES[name]
    return TissueValues(
        row.mean_chi_ppb(MEAN_AGE_YEARS) / PPB_PER_PPM, row.r2star_hz, row.t1_ms * S_PER_MS, row.proton_density
    )
