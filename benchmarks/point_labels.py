"""Labels beside points that cover neither points nor each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

DISTANCES_PT = (6.0, 11.0, 17.0, 25.0, 34.0, 46.0, 60.0)
"""How far from its point a label is tried; from the fourth on a thin line leads to it."""
N_DIRECTIONS = 16
POINT_RADIUS_PT, DEFAULT_IS_LARGER_PT = 4.5, 3.0
OUTSIDE_COST, COVERED_COST, RANK_COST, MISTAKEN_COST = 50.0, 3.0, 6.0, 60.0
"""A square pixel outside the axes and on another label, a step away from the point, a place hardly farther from another
point."""


@dataclass(frozen=True)
class Labelled:
    """A point in data units with its label; the default's stands out."""

    x: float
    y: float
    text: str
    colour: str
    is_default: bool = False


def label_points(axis: Axes, points: Sequence[Labelled], *, size: float) -> None:
    """Put every label at the nearest of a ring of places where it covers least; crowded points come first."""
    figure = axis.get_figure()
    figure.canvas.draw()
    pixel = figure.dpi / 72
    at = axis.transData.transform([(point.x, point.y) for point in points])
    radii = [_reach(point, POINT_RADIUS_PT) * pixel for point in points]
    boxes = [Bbox.from_bounds(x - r, y - r, 2 * r, 2 * r) for (x, y), r in zip(at, radii, strict=True)]
    crowd = [sum(math.dist(one, other) < 80 * pixel for other in at) for one in at]
    for _, index in sorted(zip(crowd, range(len(points)), strict=True), reverse=True):
        others = [place for other, place in enumerate(at) if other != index]
        boxes.append(_place(axis, points[index], size, boxes, others))


def _place(axis: Axes, point: Labelled, size: float, boxes: list[Bbox], others: list[tuple[float, float]]) -> Bbox:
    """Try all places for one label, keep the best, and return its box in pixels."""
    own = tuple(axis.transData.transform((point.x, point.y)))
    trial = _annotate(axis, point, size, 0.0, 0.0)
    extent = trial.get_window_extent()
    trial.remove()
    tried = []
    for rank, distance in enumerate(DISTANCES_PT):
        for turn in range(N_DIRECTIONS):
            angle = 2 * math.pi * turn / N_DIRECTIONS
            box = _box(own, extent, _reach(point, distance) * axis.get_figure().dpi / 72, angle)
            cost = _cost(box, boxes, axis.bbox) + RANK_COST * rank
            if any(_gap(box, other) < 2.0 * _gap(box, own) for other in others):
                cost += MISTAKEN_COST
            tried.append((cost, distance, angle, box.extents.tolist()))
    _, distance, angle, extents = min(tried)
    _annotate(axis, point, size, distance, angle)
    return Bbox.from_extents(*extents)


def _reach(point: Labelled, distance: float) -> float:
    return distance + DEFAULT_IS_LARGER_PT * point.is_default


def _sides(angle: float) -> tuple[int, int]:
    """Where the label lies as seen from its point: -1, 0 or 1 across and up."""
    across, up = math.cos(angle), math.sin(angle)
    return (across > 0.3) - (across < -0.3), (up > 0.3) - (up < -0.3)


def _box(own: tuple[float, float], extent: Bbox, distance: float, angle: float) -> Bbox:
    """Box of the label in pixels."""
    across, up = _sides(angle)
    x = own[0] + distance * math.cos(angle) + (across - 1) / 2 * extent.width
    y = own[1] + distance * math.sin(angle) + (up - 1) / 2 * extent.height
    return Bbox.from_bounds(x, y, extent.width, extent.height).padded(1.0)


def _annotate(axis: Axes, point: Labelled, size: float, distance: float, angle: float) -> Annotation:
    (across, up), reach = _sides(angle), _reach(point, distance)
    line = {"arrowstyle": "-", "color": point.colour, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
    return axis.annotate(
        point.text,
        (point.x, point.y),
        xytext=(reach * math.cos(angle), reach * math.sin(angle)),
        textcoords="offset points",
        ha=("center", "left", "right")[across],
        va=("center", "bottom", "top")[up],
        fontsize=size,
        color=point.colour,
        weight="bold" if point.is_default else "normal",
        arrowprops=line if distance >= DISTANCES_PT[3] else None,
    )


def _cost(box: Bbox, boxes: list[Bbox], frame: Bbox) -> float:
    shared = [Bbox.intersection(box, other) for other in boxes]
    covered = sum(part.width * part.height for part in shared if part is not None)
    within = Bbox.intersection(box, frame)
    outside = box.width * box.height - (within.width * within.height if within is not None else 0.0)
    return COVERED_COST * covered + OUTSIDE_COST * outside


def _gap(box: Bbox, place: tuple[float, float]) -> float:
    """Distance of a place from a box in pixels; 1 inside, where no distance tells."""
    across = max(box.x0 - place[0], 0.0, place[0] - box.x1)
    up = max(box.y0 - place[1], 0.0, place[1] - box.y1)
    return max(math.hypot(across, up), 1.0)
