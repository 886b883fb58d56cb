"""A made-up participant small enough to draw in a moment, with every map a page can show."""

import numpy as np
import pandas as pd
import torch

from dlqsm.core.labels import NUCLEI, label_table
from dlqsm.core.scan import Grid
from dlqsm.report.participant import ArmMaps, ParticipantReport

SHAPE = (40, 44, 16)
VOXEL_MM = (1.6, 1.6, 4.0)
SUMMARY = {
    "scan": {
        "protocol": "small",
        "field_strength_t": 3.0,
        "echo_times_s": [0.0033, 0.0064, 0.0095],
        "repetition_time_s": 0.03,
        "n_coils": 8,
        "scan_time_s": 305.0,
        "sampling": "irregular",
    },
    "methods": {
        "reconstruction": {"method": "sense", "parameters": {"max_iterations": 30}},
        "background": {"method": "vsharp", "parameters": {"radii_mm": [12.0, 3.0], "threshold": 0.05}},
        "inversion": {"method": "l1", "parameters": {}},
        "reference": "brain",
    },
    "seconds": {"field": 1.25, "inversion": 9.5},
    "convergence": {
        "background": {"converged": True, "n_iterations": 0, "residual": 0.0, "tolerance": 0.0},
        "inversion": {"converged": False, "n_iterations": 80, "residual": 2e-3, "tolerance": 1e-3},
    },
    "decisions": {"phase_unit": "mrad, from the option --phase-unit"},
    "references": [{"name": "csf", "mean_ppm": -0.0031, "sd_ppm": 0.02, "n_voxels": 411}],
    "mask": {"n_voxels": 9000},
}


def make_arm(name="PI2", acceleration=2.0, seed=0, **changes):
    rng = np.random.default_rng(seed)
    grid = Grid.centred(SHAPE, VOXEL_MM, np.eye(3))
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    mask = torch.from_numpy(x**2 + y**2 + z**2 < 0.8)
    labels = torch.zeros(SHAPE, dtype=torch.uint8)
    for number, (nucleus, side) in label_table().items():
        i = 8 + 2 * NUCLEI.index(nucleus)
        column = slice(12, 16) if side == "left" else slice(24, 28)
        labels[column, i : i + 2, 6:9] = number
    truth = torch.where(labels > 0, 0.08, 0.0) * mask
    chi = truth + torch.from_numpy(rng.normal(0, 0.01, SHAPE)) * mask
    maps = {
        "mask": mask,
        "magnitude": torch.from_numpy(rng.uniform(0.5, 1.0, SHAPE)),
        "phase_rad": torch.from_numpy(rng.uniform(-3.1, 3.1, SHAPE)),
        "total_field_hz": torch.from_numpy(30 * x + 5 * z) * mask,
        "local_field_hz": torch.from_numpy(rng.normal(0, 2, SHAPE)) * mask,
        "noise_hz": torch.full(SHAPE, 0.25 * acceleration if acceleration else 0.5),
        "chi_ppm": chi,
        "labels": labels,
        "truth_chi_ppm": truth,
        "summary": SUMMARY,
    }
    maps = {k: v.float() if isinstance(v, torch.Tensor) and k not in ("labels", "mask") else v for k, v in maps.items()}
    return ArmMaps(name, acceleration, grid, **(maps | changes))


def make_regions(arms, *, truth=True):
    """Values that no formatter can mistake for another's: 10 x arm + nucleus + 0.25 ppb."""
    rows = []
    for i, arm in enumerate(arms, start=1):
        for j, nucleus in enumerate(NUCLEI, start=1):
            for side, shift in (("left", 0.5), ("right", -0.5), ("both", 0.0)):
                mean = 10.0 * i + j + 0.3 + shift
                row = ("sub-01", arm, nucleus, side, mean, 1.5, mean, 24, 245.76, j + 5.1)
                rows.append(row if truth else row[:-1])
    head = ["participant_id", "arm", "roi", "side"]
    columns = [*head, "mean_ppb", "sd_ppb", "median_ppb", "n_voxels", "volume_mm3", "truth_ppb"]
    return pd.DataFrame(rows, columns=columns if truth else columns[:-1])


def make_report(**changes):
    names = ("PI2", "DL3", "DL4", "DL5")
    content = {
        "participant": "sub-01",
        "arms": tuple(make_arm(name, 2.0 + i, seed=i) for i, name in enumerate(names)),
        "regions": make_regions(names),
        "similarity": pd.DataFrame(
            [("DL3", 7.25, 0.9125, float("inf")), ("DL4", 8.5, 0.8875, 31.25)],
            columns=["arm", "rmse_ppb", "ssim", "psnr_db"],
        ),
        "reference_arm": "PI2",
        "software": {"dlqsm": "0.1.0", "torch": "2.6"},
    }
    return ParticipantReport(**(content | changes))
