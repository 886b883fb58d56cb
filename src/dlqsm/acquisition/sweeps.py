"""Solids swept along a line or an arc: the implicit shape that nuclei and ventricles are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

Row = tuple[float, float, float, float, float, float, float]
Box = tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True, slots=True)
class Sweep:
    """A bent elliptic section that changes along a height z or along an arc in the sagittal plane.

    A section is the set (U / half_length)^2 + (V / half_width)^2 < 1, where U runs along its long axis and
    V is measured from the parabola bend U^2, so that a section is a bean or a crescent where it is bent.

    Parameters
    ----------
    path
        ``"height"``: position t = z [mm], section in (x, y). ``"arc"``: t = angle [deg] about ``centre`` from
        anterior (0) over the top (90) to posterior (180) and on, section in (x, radius).
    rows
        ``(t, first, second, half_length, half_width, angle_deg, bend)``: t ascending, centre of the section and half
        axes [mm], angle of the long axis from the first coordinate, bend [1/mm]. Half axes of zero close an end.
    centre
        (y, z) of the arc's centre [mm].

    All positions are MNI152 mm of the right side; `level` mirrors the left one.
    """

    path: Literal["height", "arc"]
    rows: tuple[Row, ...]
    centre: tuple[float, float] = (0.0, 0.0)

    def level(self, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Positive inside [about mm], negative outside; x is the distance from the midplane on the shape's side."""
        t, first, second = self._along(x, y, z)
        table = torch.tensor(self.rows, dtype=x.dtype, device=x.device)
        return section_level(t, first, second, table)

    def box(self, margin_mm: float = 0.5) -> Box:
        """Corners of a box round the shape [mm], on the right side."""
        points = [point for row in self.rows for point in self._outline(row)]
        lower, upper = ([f(p[i] for p in points) for i in range(3)] for f in (min, max))
        return (
            (lower[0] - margin_mm, lower[1] - margin_mm, lower[2] - margin_mm),
            (upper[0] + margin_mm, upper[1] + margin_mm, upper[2] + margin_mm),
        )

    def _along(
        self, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        if self.path == "height":
            return z, x, y
        dy, dz = y - self.centre[0], z - self.centre[1]
        angle = torch.rad2deg(torch.atan2(dz, dy))
        # The cut of the angle lies where no row is: half way round from the middle of the table.
        middle = 0.5 * (self.rows[0][0] + self.rows[-1][0])
        angle = torch.remainder(angle - middle + 180.0, 360.0) + middle - 180.0
        return angle, x, torch.hypot(dy, dz)

    def _outline(self, row: Row) -> list[tuple[float, float, float]]:
        t, first, second, length, width, _, bend = row
        reach = max(length, width) + abs(bend) * length**2
        corners = [(first + i * reach, second + j * reach) for i in (-1, 1) for j in (-1, 1)]
        if self.path == "height":
            return [(a, b, t) for a, b in corners]
        cos, sin = math.cos(math.radians(t)), math.sin(math.radians(t))
        return [(a, self.centre[0] + r * cos, self.centre[1] + r * sin) for a, r in corners]


def section_level(t: torch.Tensor, first: torch.Tensor, second: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Level of the section at ``t``: (1 - rho) times the smaller half axis; half axes interpolate in their squares."""
    knots = table[:, 0].contiguous()
    index = torch.searchsorted(knots, t.contiguous()).clamp(1, len(knots) - 1)
    low, high = table[index - 1], table[index]
    weight = ((t - low[..., 0]) / (high[..., 0] - low[..., 0])).unsqueeze(-1)
    at = torch.lerp(low[..., 1:], high[..., 1:], weight.clamp(0.0, 1.0))
    squares = torch.lerp(low[..., 3:5] ** 2, high[..., 3:5] ** 2, weight.clamp(0.0, 1.0))
    radians = torch.deg2rad(at[..., 4])
    du, dv = first - at[..., 0], second - at[..., 1]
    along = torch.cos(radians) * du + torch.sin(radians) * dv
    across = torch.cos(radians) * dv - torch.sin(radians) * du - at[..., 5] * along**2
    rho = torch.sqrt(along**2 / (squares[..., 0] + 1e-6) + across**2 / (squares[..., 1] + 1e-6) + 1e-12)
    level = (1.0 - rho) * torch.sqrt(squares.amin(-1) + 1e-6)
    beyond = (t < knots[0]) | (t > knots[-1])
    return torch.where(beyond, -level.abs() - 1e-3, level)
