"""Places and forms of nuclei, thalamus, dentate and ventricles in MNI152 space, as implicit shapes.

Each is a `Sweep`: the caudate and the lateral ventricle arch over the thalamus, the putamen is a lens, both pallidal
segments are nested plates, both parts of the nigra are oblique bands with the pars compacta dorso-medial. Nuclei were
fitted to the sizes and places in the CIT168 atlas and the lateral ventricle to the MNI152 template; thalamus, dentate,
third and fourth ventricle follow textbook places seen in the template.

References
----------
Pauli, Nili & Tyszka, Sci Data 5:180063 (2018), doi:10.1038/sdata.2018.63.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from dlqsm.acquisition.sweeps import Box, Sweep
from dlqsm.core.scan import Grid

ARC_CENTRE: Final = (-10.0, -2.0)
"""(y, z) that caudate and lateral ventricle arch round [mm]."""
LAMINA_MM: Final = 0.5
"""White matter between putamen and pallidum and between the pallidal segments."""


@dataclass(frozen=True, slots=True)
class Structure:
    """A shape and the tissue in it; on both sides of the head unless it lies on the midline."""

    tissue: str
    shape: Sweep
    on_midline: bool = False
    lamina_mm: float = 0.0

    @property
    def sides(self) -> tuple[float, ...]:
        """Sign of x on each side: left -1, right +1."""
        return (1.0,) if self.on_midline else (-1.0, 1.0)

    def level(self, position: torch.Tensor, side: float) -> torch.Tensor:
        """Positive inside, at MNI positions ``(..., 3)``."""
        x, y, z = position.unbind(-1)
        return self.shape.level(x.abs() if self.on_midline else side * x, y, z)

    def box(self, side: float) -> Box:
        """Corners of a box round the shape on one side [MNI mm]."""
        (x0, y0, z0), (x1, y1, z1) = self.shape.box()
        if self.on_midline:
            return (-x1, y0, z0), (x1, y1, z1)
        return ((x0, y0, z0), (x1, y1, z1)) if side > 0 else ((-x1, y0, z0), (-x0, y1, z1))


# fmt: off
# t, first, second, half length, half width [mm], angle [deg], bend [1/mm]
LATERAL_VENTRICLE: Final = Structure("ventricle", Sweep("arc", (
    (-8, 6.9, 27, 0, 0, 61, -0.024),
    (0, 6, 27.9, 2.5, 0.3, 61, -0.024),
    (10, 4.4, 29.4, 14.5, 2.3, 65, -0.042),
    (20, 3.9, 28, 13.5, 3.1, 68, -0.045),
    (35, 3.9, 24.4, 10.3, 3.3, 75, -0.055),
    (50, 4.8, 23.2, 8.1, 4, 77, -0.075),
    (70, 7.6, 23.4, 7.2, 3.9, 35, 0.015),
    (90, 9.4, 24.1, 8.2, 3, 25, 0.032),
    (110, 11.6, 26.2, 8.4, 3.2, 30, 0.02),
    (130, 14.8, 29.1, 8.9, 3.8, 29, 0.013),
    (150, 21.6, 33.4, 8, 5.3, 47, 0.038),
    (165, 26.9, 34.4, 5.1, 5.1, 25, 0.063),
    (180, 30.2, 33.8, 0.3, 0.3, 22, 0.092),
    (190, 32.2, 33.4, 0, 0, 22, 0.092),
), centre=ARC_CENTRE))
BRAINSTEM: Final = Structure("WM", Sweep("height", (
    (-75, 0, -47, 8, 7, 0, 0),
    (-62, 0, -45, 11, 9, 0, 0),
    (-55, 0, -40.5, 12.5, 11, 0, 0),
    (-45, 0, -31.5, 15, 13, 0, 0),
    (-35, 0, -28, 19, 15.5, 0, 0),
    (-25, 0, -24, 20, 17, 0, 0),
    (-15, 0, -23, 19, 16, 0, 0),
    (-8, 0, -22, 17, 15, 0, 0),
    (-2, 0, -21, 0, 0, 0, 0),
)), on_midline=True)
"""Wide round medulla, pons and midbrain: only says where grey matter of the template is not cortex."""
STRUCTURES: Final = (
    # later ones lie over earlier ones
    LATERAL_VENTRICLE,
    Structure("ventricle", Sweep("height", (
        (-13, 0, -3, 0, 0, 90, 0),
        (-10, 0, -4, 6, 1.2, 90, 0),
        (-5, 0, -8, 10, 1.3, 90, 0),
        (0, 0, -11, 14, 1.6, 90, 0),
        (5, 0, -13, 15, 2.0, 90, 0),
        (9, 0, -15, 0, 0, 90, 0),
    )), on_midline=True),
    Structure("ventricle", Sweep("height", (
        (-49, 0, -46, 0, 0, 90, 0),
        (-44, 0, -46, 3, 3, 90, 0),
        (-38, 0, -45.5, 4, 5.5, 90, 0),
        (-33, 0, -45.5, 5.5, 6, 90, 0),
        (-27, 0, -41, 4.5, 3.5, 90, 0),
        (-22, 0, -37.5, 2, 1.5, 90, 0),
        (-18, 0, -36, 0, 0, 90, 0),
    )), on_midline=True),
    Structure("thalamus", Sweep("height", (
        (-4, 10, -17, 0, 0, 120, 0),
        (0, 10.5, -17.5, 11, 7, 120, 0),
        (4, 11, -18, 15, 8.6, 120, 0),
        (8, 11.5, -18.5, 16.5, 9.2, 120, 0),
        (12, 11.5, -18, 15, 8.2, 120, 0),
        (16, 11, -16, 10.5, 5.5, 120, 0),
        (19, 10.5, -14, 0, 0, 120, 0),
    ))),
    Structure("dentate", Sweep("height", (
        (-43.5, 15, -57, 0, 0, 57, 0.025),
        (-40, 15, -57, 6, 1.8, 57, 0.025),
        (-36, 15.5, -57.5, 9, 2.3, 57, 0.025),
        (-32, 15.5, -57.5, 9.5, 2.3, 57, 0.025),
        (-28.5, 15, -57, 6, 1.8, 57, 0.025),
        (-26, 15, -57, 0, 0, 57, 0.025),
    ))),
    Structure("Pu", Sweep("height", (
        (-14.5, 18, 9.7, 0, 0, 109, -0.032),
        (-11, 19.4, 9.4, 7.4, 5.4, 109, -0.032),
        (-8, 21.7, 8.9, 12, 6.8, 115, -0.009),
        (-4, 27, 2.9, 21.2, 5.5, 108, 0.005),
        (0, 27.7, 1.5, 21.8, 5.6, 105, 0.005),
        (4, 27.1, -0.2, 20, 6, 104, 0.003),
        (8, 26.4, -0.9, 17.3, 5.6, 103, 0.001),
        (12, 26.6, -2.1, 12.1, 3.8, 101, 0.002),
        (15.8, 26.7, -2.7, 0, 0, 101, 0.002),
    ))),
    Structure("Ca", Sweep("arc", (
        (-26, 11.7, 25.2, 0, 0, 33, 0.027),
        (-18, 11.7, 26, 2.5, 2.4, 33, 0.027),
        (-8, 11.7, 27.5, 9.3, 5.1, 52, -0.004),
        (5, 11.7, 27.8, 11.1, 5.7, 50, -0.016),
        (20, 12.7, 26.9, 10.6, 5.7, 49, -0.012),
        (35, 13.5, 25.3, 9.4, 5.6, 49, -0.01),
        (50, 14.1, 24, 8.2, 4.8, 52, -0.006),
        (70, 15.4, 23.6, 6.5, 3.6, 52, 0.004),
        (90, 17.1, 24.7, 4.5, 3, 54, 0.021),
        (110, 18.7, 25.8, 3.4, 2.3, 52, 0.025),
        (130, 21.2, 27.6, 1.9, 1.6, 49, 0.026),
        (150, 25.5, 27.9, 1.6, 1.6, 44, 0.028),
        (163, 28.6, 26.2, 2.3, 2.3, 38, 0.033),
        (172, 30.5, 25.1, 0, 0, 38, 0.033),
    ), centre=ARC_CENTRE)),
    Structure("GPe", Sweep("height", (
        (-7, 19.3, 1.6, 0, 0, 141, 0.025),
        (-4.5, 19.5, 1.4, 11.7, 2.9, 141, 0.025),
        (-2, 19.9, 1, 12.7, 3.2, 136, 0.028),
        (0.5, 20.1, -1, 11.3, 3.6, 127, 0.015),
        (3, 19.4, -2.3, 9.2, 3.5, 119, 0.001),
        (5, 19.5, -2.7, 6.2, 2.4, 119, 0.003),
        (7, 19.6, -2.9, 0, 0, 119, 0.003),
    )), lamina_mm=LAMINA_MM),
    Structure("GPi", Sweep("height", (
        (-9.8, 13.4, -2.9, 0, 0, 155, 0.026),
        (-8, 14.9, -3.4, 4.6, 2.9, 155, 0.026),
        (-6, 17.4, -4.2, 8.6, 3.7, 143, 0.018),
        (-4, 18.1, -4.6, 8.5, 3.7, 136, 0.017),
        (-2, 18.3, -4.8, 7.1, 2.8, 130, 0.016),
        (-0.5, 18.4, -5.3, 5, 2, 126, 0.015),
        (1, 18.5, -5.5, 0, 0, 126, 0.015),
    )), lamina_mm=LAMINA_MM),
    Structure("RN", Sweep("height", (
        (-15.5, 4.6, -20.7, 0, 0, 114, -0.023),
        (-13, 4.7, -20.4, 3.2, 2.7, 114, -0.023),
        (-11, 4.7, -19.9, 4.9, 3.8, 108, -0.012),
        (-9, 5, -19.1, 5.3, 4.5, 100, -0.005),
        (-7, 5.2, -18.4, 4.3, 4.2, 121, -0.03),
        (-5.5, 5.3, -18.4, 2.9, 2.9, 126, -0.045),
        (-4.4, 5.3, -18.5, 0, 0, 126, -0.045),
    ))),
    Structure("SNc", Sweep("height", (
        (-19.7, 5.9, -20.4, 0, 0, 123, 0.049),
        (-18, 6.6, -20.5, 2.5, 1.8, 123, 0.049),
        (-16, 7.8, -20.6, 5.1, 1.6, 118, 0.047),
        (-14, 8.5, -18.4, 5.9, 1.4, 116, 0.042),
        (-12, 9.6, -17.8, 5.4, 1.4, 110, 0.03),
        (-10, 11.4, -18.9, 2.3, 1.3, 97, 0.034),
        (-8.5, 12.5, -19.6, 0, 0, 97, 0.034),
    ))),
    Structure("SNr", Sweep("height", (
        (-19.7, 6.7, -18.5, 0, 0, 126, 0.052),
        (-18, 7.5, -17.9, 3.4, 1.8, 126, 0.052),
        (-16, 8.8, -16.8, 6.3, 2.2, 125, 0.046),
        (-14, 10.1, -15.6, 7.8, 2.4, 114, 0.026),
        (-12, 11.5, -14.6, 8, 2.6, 114, 0.035),
        (-10, 12.9, -15.3, 6.3, 2, 99, 0.011),
        (-8.5, 13.8, -15.8, 0, 0, 99, 0.011),
    ))),
)
# fmt: on


def ventricle_share(grid: Grid) -> NDArray[np.float32]:
    """Share of each cell of a coarse template grid that the ventricles fill, from their levels."""
    axes = [
        torch.arange(n, dtype=torch.float32) * edge + start
        for n, edge, start in zip(grid.shape, grid.voxel_size_mm, grid.origin_mm, strict=True)
    ]
    position = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    levels = [
        structure.level(position, side)
        for structure in STRUCTURES
        if structure.tissue == "ventricle"
        for side in structure.sides
    ]
    deepest = torch.stack(levels).amax(0)
    share: NDArray[np.float32] = (0.5 + deepest / grid.voxel_size_mm[0]).clamp(0.0, 1.0).numpy()
    return share
