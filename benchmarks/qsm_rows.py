"""Rows of `qsm.py` as means over seeds, and the figures of other tools in peers.tsv."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

RESULTS = Path(__file__).parent / "results"
PEERS = Path(__file__).parent / "peers.tsv"
PEERS_SIZE = "large"
SECONDS, MEGABYTES = "CPU seconds", "peak MB"


def read_rows(paths: Sequence[Path], device: str = "cpu") -> pd.DataFrame:
    """Rows of all files on one device, the last of two alike, with the stage and the method in columns of their own."""
    absent = [str(path) for path in paths if not path.is_file()]
    if absent:
        raise SystemExit(f"{', '.join(absent)}: there is no such file; run qsm.py first")
    rows = pd.concat([pd.read_csv(path, sep="\t", keep_default_na=False) for path in paths])
    rows = rows[rows["device"] == device].drop_duplicates(["test", "measure", "size", "seed"], keep="last")
    rows[["stage", "method"]] = rows["test"].str.split(" ", n=1, expand=True)
    return rows.assign(value=rows["value"].astype(float))


def means(rows: pd.DataFrame, size: str, stage: str) -> pd.DataFrame:
    """Mean over seeds: a line a method, a column a measure, and ``seeds``, how many there are."""
    here = rows[(rows["size"] == size) & (rows["stage"] == stage)]
    table = here.pivot_table(index="method", columns="measure", values="value", aggfunc="mean", sort=False)
    return table.assign(seeds=here.groupby("method")["seed"].nunique())


def read_peers(stage: str, size: str) -> pd.DataFrame:
    """Other tools' figures of one stage; none of a size that they were not measured on."""
    peers = pd.read_csv(PEERS, sep="\t")
    return peers[(peers["stage"] == stage) & (size == PEERS_SIZE)]


def exponent(voxels: Sequence[float], values: Sequence[float]) -> float:
    """Slope of the straight line through the logarithms."""
    return float(np.polyfit(np.log(voxels), np.log(values), 1)[0])
