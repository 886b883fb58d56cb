"""Summary of the rows of `reconstruction.py`: means, paired ratios to the best non-learned method, what was wanted."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from reconstruction_judging import MEASURES
from reconstruction_line import CONTROL, WHOLE
from reconstruction_methods import FULL
from reconstruction_rows import Row, Rows, number
from record import Record

from dlqsm.core.labels import NUCLEI

LEARNED = ("joint", "cascade")
EACH_COIL = "cs wavelet, each coil"
SCORE = "nuclei_hz"
ERRORS = ("nrmse_percent", "phase_deg", "brain_hz", "nuclei_hz", "brain_to_clean_hz", "nuclei_to_clean_hz")
FIELDS = ("brain_hz", "nuclei_hz")
EDGES = ("edge_magnitude", "edge_field")
RATIO_WANTED = 0.95
"""For weights trained on a CPU; 0.8 for those trained on a GPU."""
JUDGED_ACCELERATIONS = ("3", "4", "5")
DECIBELS_WANTED = 1.5
EDGE_WANTED = 0.9
NUCLEUS_WANTED_PPB, CASE_WANTED_PPB, SLOPE_WANTED = 1.5, 4.0, (0.98, 1.02)

Problems = dict[tuple[str, str, str, str], list[Row]]


def summarise(slabs: Rows, lines: Rows, out: Path) -> int:
    """Write the summary; returns 1 where something is outside what was wanted."""
    record = _AtOnce(out)
    problems: Problems = defaultdict(list)
    for row in slabs:
        problems[row["condition"], row["af"], row["head"], row["mask"]].append(row)
    for condition, af in sorted({key[:2] for key in problems}, key=lambda pair: (pair[0] != "standard", *pair)):
        cases = [rows for key, rows in problems.items() if key[:2] == (condition, af)]
        about = {"condition": condition, "af": af}
        tell_means(record, cases, about)
        tell_ratios(record, cases, about)
        tell_decibels(record, cases, about)
    tell_line(record, list(lines))
    if record.rows:
        record.write_all()
        print(f"{record.failed} of {sum(bool(r['result']) for r in record.rows)} wanted results missed; {out}")
    return 1 if record.failed else 0


class _AtOnce(Record):
    """A record that is written when it is whole: thousands of rows are there at once."""

    def write(self) -> None:
        """Wait for `write_all`."""

    def write_all(self) -> None:
        """Write all rows."""
        super().write()


def label_of(row: Row) -> str:
    """Name of a method, with its weights and device where it is a network."""
    parts = [row["method"], row["weights"], row.get("device", "cpu").replace("cpu", "")]
    return " ".join(part for part in parts if part)


def is_learned(row: Row) -> bool:
    return row["method"].startswith(LEARNED)


def kept(rows: Iterable[Row]) -> dict[str, Row]:
    """Of each method the row of the strength with the lowest field error in the nuclei."""
    best: dict[str, Row] = {}
    for row in rows:
        name = label_of(row)
        if name not in best or number(row, SCORE) < number(best[name], SCORE):
            best[name] = row
    return best


def tell_means(record: Record, cases: list[list[Row]], about: dict[str, str]) -> None:
    """Mean of each measure over the cases of a method; edges relative to the fully sampled scan."""
    names = sorted({label_of(row) for rows in cases for row in rows})
    for name in names:
        here = [best for best in map(kept, cases) if name in best]
        for measure in (*MEASURES, "wall_s", "cpu_s", "peak_mb"):
            values = _relative(here, name, measure) if measure in EDGES else [number(b[name], measure) for b in here]
            values = [value for value in values if not math.isnan(value)]
            if values:
                _spread(record, measure, values, None, method=name, **about)


def _relative(here: list[dict[str, Row]], name: str, measure: str) -> list[float]:
    return [number(best[name], measure) / number(best[FULL], measure) for best in here if FULL in best]


def tell_ratios(record: Record, cases: list[list[Row]], about: dict[str, str]) -> None:
    """Errors of the networks over the lowest of any non-learned method at any strength, problem by problem.

    ``rivals``: how many such methods ran on every problem, at least; BART and SigPy run on few heads.
    """
    for name in sorted({label_of(row) for rows in cases for row in rows if is_learned(row)}):
        for measure in ERRORS:
            ratios, n_rivals = [], []
            for rows in cases:
                best, rivals = kept(rows), [r for r in rows if not is_learned(r) and r["method"] != FULL]
                if name in best and rivals:
                    ratios.append(number(best[name], measure) / min(number(r, measure) for r in rivals))
                    n_rivals.append(len({r["method"] for r in rivals}))
            judged = _is_judged(name, about) and measure in FIELDS
            bound = (0.0, RATIO_WANTED) if judged else None
            if ratios:
                told = about | {"rivals": str(min(n_rivals))}
                _spread(record, f"{measure} over best non-learned", ratios, bound, method=name, **told)


def _is_judged(name: str, about: dict[str, str]) -> bool:
    in_soft_mode = name.startswith("joint") and "exact" not in name
    return in_soft_mode and about["condition"] == "standard" and about["af"] in JUDGED_ACCELERATIONS


def tell_decibels(record: Record, cases: list[list[Row]], about: dict[str, str]) -> None:
    """How much better `cascade` is than the tuned wavelets of each coil: the least of all heads, and the nuclei."""
    for name in sorted({label_of(row) for rows in cases for row in rows if row["method"].startswith("cascade")}):
        gains: dict[str, list[float]] = defaultdict(list)
        fields = []
        for rows in cases:
            mine, theirs = kept(rows).get(name), [row for row in rows if row["method"] == EACH_COIL]
            if mine is None or not theirs:
                continue
            best = min(number(row, "nrmse_percent") for row in theirs)
            gains[mine["head"]].append(20 * math.log10(best / number(mine, "nrmse_percent")))
            fields.append(number(mine, SCORE) / min(number(row, SCORE) for row in theirs))
        if not gains:
            continue
        judged = "exact" not in name and about["condition"] == "standard"
        least = min(float(np.mean(each)) for each in gains.values())
        told = {"method": name, "heads": len(gains), "cases": len(fields), **about}
        bounds = ((DECIBELS_WANTED, math.inf), (0.0, 1.0)) if judged else (None, None)
        record.add("cascade", "dB over each coil, worst head", least, bound=bounds[0], **told)
        record.add("cascade", f"{SCORE} over each coil", float(np.mean(fields)), bound=bounds[1], **told)


def tell_line(record: Record, rows: list[Row]) -> None:
    """Nuclei through the whole line."""
    for name in sorted({label_of(row) for row in rows if row["method"] != WHOLE}):
        here = [row for row in rows if label_of(row) == name]
        told = {"method": name, "cases": len(here), "heads": len({row["head"] for row in here})}
        judged = name.startswith("joint") and "exact" not in name
        means = {roi: float(np.mean([abs(number(row, f"change_{roi}_ppb")) for row in here])) for roi in NUCLEI}
        worst = max(number(row, "worst_change_ppb") for row in here)
        limits = {"nucleus": (0.0, NUCLEUS_WANTED_PPB), "case": (0.0, CASE_WANTED_PPB), "edge": (EDGE_WANTED, math.inf)}
        bounds = limits if judged else dict.fromkeys(limits)
        for roi, value in means.items():
            record.add("line", f"mean |change| {roi} ppb", value, bound=bounds["nucleus"], **told)
        record.add("line", "largest |change| ppb", worst, bound=bounds["case"], **told)
        slope = float(np.mean([number(row, "slope") for row in here]))
        record.add("line", "slope over nuclei", slope, bound=SLOPE_WANTED if judged else None, **told)
        edge = float(np.mean([number(row, "edge_chi") for row in here]))
        record.add("line", "edge of chi over fully sampled", edge, bound=bounds["edge"], **told)
        for measure in ("rmse_change_ppb", "rmse_ppb", "mean_abs_error_ppb", "field_hz", "recon_wall_s"):
            record.add("line", measure, float(np.mean([number(row, measure) for row in here])), **told)
    if rows and not any(row["method"] == CONTROL for row in rows):
        print("the line has no control yet")


def _spread(record: Record, measure: str, values: list[float], bound: tuple[float, float] | None, **about: str) -> None:
    """A mean with its standard deviation, least and largest over heads and masks."""
    told = {"sd": f"{np.std(values):.4g}", "least": f"{min(values):.4g}", "largest": f"{max(values):.4g}"}
    record.add("slabs", measure, float(np.mean(values)), bound=bound, **about, **told, cases=len(values))
