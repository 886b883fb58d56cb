"""What the replication was to show, nucleus by nucleus, beside the repeat of the reference.

    python benchmarks/replication_bars.py [docs/replication] [--out benchmarks/results/replication.tsv]

Set before the data were seen, for each nucleus of each arm, both sides: r with the reference at least that of the
repeat less 0.02; the 95 % interval of the bias inside +-2.5 ppb; that of the difference of the age slopes inside +-0.1
ppb a year; equivalence within 3 ppb wherever the repeat has it. The repeat is put to the same bars: it tells which of
them this scale can meet at all.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from record import Record

R_LOSS = 0.02
BIAS_PPB = 2.5
SLOPE_PPB_PER_YEAR = 0.1
ALPHA = 0.05
REPEAT = "PI2rep"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).parent
    parser.add_argument("folder", nargs="?", type=Path, default=here.parent / "docs" / "replication")
    parser.add_argument("--out", type=Path, default=here / "results" / "replication.tsv")
    options = parser.parse_args()
    agreement = pd.read_csv(options.folder / "group" / "agreement.tsv", sep="\t", na_values="n/a")
    pairs = agreement[agreement["side"] == "both"].set_index(["roi", "arm"])
    slopes = pd.read_csv(options.folder / "group" / "age.tsv", sep="\t", na_values="n/a").set_index(["roi", "arm"])
    record = Record(options.out)
    for roi, arm in pairs.index:
        judge(record, pairs, slopes, roi, arm)
    summary(record)
    return 0


def judge(record: Record, pairs: pd.DataFrame, slopes: pd.DataFrame, roi: str, arm: str) -> None:
    """Rows of one nucleus in one arm."""
    row, repeat, slope = pairs.loc[(roi, arm)], pairs.loc[(roi, REPEAT)], slopes.loc[(roi, arm)]
    about = {"arm": arm, "roi": roi, "n": int(row["n"])}
    record.add("r", "Pearson r", row["pearson_r"], bound=(repeat["pearson_r"] - R_LOSS, 1.0), **about)
    record.add("bias", "ppb", row["bias_ppb"], **about)
    for end in ("low", "high"):
        bias = row[f"bias_{end}_ppb"]
        record.add("bias, 95 % interval", f"{end}, ppb", bias, bound=(-BIAS_PPB, BIAS_PPB), **about)
        change = slope[f"slope_difference_{end}"]
        bound = (-SLOPE_PPB_PER_YEAR, SLOPE_PPB_PER_YEAR)
        record.add("age slope, 95 % interval", f"{end}, ppb a year", change, bound=bound, **about)
    wanted = repeat["tost_p"] < ALPHA
    record.add("TOST at 3 ppb", "p", row["tost_p"], bound=(0.0, ALPHA) if wanted else None, **about)


def summary(record: Record) -> None:
    """How many nuclei of an arm meet each bar."""
    rows = pd.DataFrame(record.rows)
    judged = rows[rows["result"] != ""]
    met = judged.assign(met=judged["result"] == "pass").groupby(["test", "arm", "roi"], sort=False)["met"].all()
    for (test, arm), nuclei in met.groupby(level=["test", "arm"], sort=False):
        missed = [roi for (_, _, roi), good in nuclei.items() if not good]
        print(f"{test:<26} {arm:<7} {int(nuclei.sum())} of {len(nuclei)}  missed: {', '.join(missed) or 'none'}")


if __name__ == "__main__":
    raise SystemExit(main())
