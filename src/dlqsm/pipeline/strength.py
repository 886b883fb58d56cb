"""Why the inversion of one scan has the strength that it has."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd
import torch

from dlqsm.config import QsmConfig
from dlqsm.core.checks import InputError
from dlqsm.core.scan import Scan
from dlqsm.pipeline.susceptibility import QsmMaps, csf_keyword
from dlqsm.qsm.inversion.strength_curve import strength_curve

OPTIONS = ("edge_share", "nonlinear_time_s", "padding_mm", "tolerance", "max_iterations", "csf_strength")
"""Options of `l1` that its static problem has, beside the strength."""
COLUMNS = {
    "factor": "Strength over the one of the map",
    "strength_ppm": "Weight of the penalty [ppm]",
    "misfit_ppm": "Robust standard deviation of W (D chi - b) over the voxels that the solution was made of [ppm]",
    "held_out_misfit_ppm": "The same over the voxels that it was made without, one in 19 [ppm]",
    "total_variation_ppm": "Mean over voxels of the gradient that is penalised, summed over directions [ppm]",
    "asked_strength_ppm": "Strength that the held-out misfit asks for [ppm]",
    "of_the_map": "1 at the strength of the map",
}


def strength_table(maps: QsmMaps, magnitude: torch.Tensor, scan: Scan, config: QsmConfig | None = None) -> pd.DataFrame:
    """One row a strength around that of the map, columns as in `COLUMNS`.

    Parameters
    ----------
    maps
        What `map_susceptibility` made.
    magnitude
        The image that gave the inversion its edges: root of the power of all echoes, ``(x, y, z)``.
    scan, config
        As given to `map_susceptibility`.

    Raises
    ------
    InputError
        If the inversion is another than `l1`.
    """
    config = config or QsmConfig()
    if config.inversion.method != "l1":
        raise InputError(f"a strength curve is drawn for l1 only; got the inversion '{config.inversion.method}'")
    options = config.with_chosen(maps.summary["convergence"]["inversion"]).inversion.resolved("inversion")["parameters"]
    more: dict[str, Any] = {name: options[name] for name in OPTIONS}
    more |= csf_keyword(config, maps.r2star_hz, maps.eroded_mask, scan.grid, maps.quality)
    points = strength_curve(
        maps.local_field_hz / scan.hz_per_ppm,
        maps.eroded_mask,
        scan,
        maps.noise_hz / scan.hz_per_ppm,
        magnitude,
        strength=options["strength"],
        **more,
    )
    table = pd.DataFrame([asdict(point) for point in points])
    return table.assign(of_the_map=(table["factor"] == 1.0).astype(int))
