"""Tables of the repeated study: bars beside the repeat, bias, r, age, and similarity beside the paper's."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from markdown_rows import number, table

import dlqsm
from dlqsm.agreement.similarity_definitions import PRIMARY

STUDY = Path(__file__).resolve().parent.parent / "docs" / "replication"
GROUP = STUDY / "group"
PAPER = json.loads((Path(dlqsm.__file__).parent / "report" / "paper.json").read_text())


def bars_table(told: pd.DataFrame) -> str:
    """How many nuclei of each arm meet each bar, and which do not."""
    judged = told[told["result"].notna() & (told["result"] != "")]
    good = judged.assign(good=judged["result"] == "pass").groupby(["test", "arm", "roi"], sort=False)["good"].all()
    arms = list(dict.fromkeys(judged["arm"]))
    rows = [[str(test), *(_met(good[test][arm]) for arm in arms)] for test in dict.fromkeys(judged["test"])]
    return table(["nuclei that meet", *arms], rows)


def _met(good: pd.Series) -> str:
    missed = ", ".join(good.index[~good])
    return f"{int(good.sum())} of {len(good)}" + (f", not {missed}" if missed else "")


def bias_table(told: pd.DataFrame) -> str:
    """Bias with its interval, and r, of each nucleus in each arm."""
    values = told.set_index(["arm", "roi", "test", "measure"])["value"]
    arms, nuclei = list(dict.fromkeys(told["arm"])), list(dict.fromkeys(told["roi"]))
    rows = []
    for roi in nuclei:
        cells = []
        for arm in arms:
            of = values[arm][roi]
            low, high = (of["bias, 95 % interval"][f"{end}, ppb"] for end in ("low", "high"))
            cells.append(f"{of['bias']['ppb']:+.1f} ({low:+.1f} to {high:+.1f}); {of['r']['Pearson r']:.3f}")
        rows.append([roi, *cells])
    return table(["bias [ppb]; r", *arms], rows)


def origin_table(told: pd.DataFrame) -> str:
    """Mean change of each nucleus by arm, method and weights, and the mean size of those changes."""
    nuclei = list(dict.fromkeys(told["test"]))
    rows = []
    for (arm, method, weights, n), mine in told.groupby(["arm", "method", "weights", "n"], sort=False):
        values = mine.set_index("test")["value"]
        cells = [f"{values[roi]:+.1f}" for roi in nuclei]
        rows.append([str(arm), str(method), str(weights), str(n), *cells, f"{values.abs().mean():.1f}"])
    return table(["arm", "method", "weights by", "heads", *nuclei, "mean size"], rows)


def age_table(told: pd.DataFrame) -> str:
    """Slope over age in the reference arm, and the interval of the slope's change in each arm [ppb a year]."""
    ages = pd.read_csv(GROUP / "age.tsv", sep="\t", na_values="n/a").set_index(["arm", "roi"])
    reference = ages.index[0][0]
    arms = list(dict.fromkeys(told["arm"]))
    rows = []
    for roi in dict.fromkeys(told["roi"]):
        own = ages.loc[(reference, roi)]
        changes = [ages.loc[(arm, roi)] for arm in arms]
        cells = [f"{c['slope_difference_low']:+.2f} to {c['slope_difference_high']:+.2f}" for c in changes]
        rs = [f"{one['pearson_r']:.2f}" for one in (own, *changes)]
        rows.append([roi, f"{own['slope_ppb_per_year']:.2f}", *cells, " / ".join(rs)])
    heads = ["", f"slope, {reference}", *(f"change, {arm}" for arm in arms)]
    return table([*heads, "r with age, " + " / ".join([reference, *arms])], rows)


def scan_times_table() -> str:
    """Net acceleration and scan time of each arm, by each meaning of an acceleration, the published time beside."""
    times = pd.read_csv(STUDY / "logs" / "scan_times.tsv", sep="\t", na_values="n/a").set_index(["af_mode", "arm"])
    rows = []
    for arm in times.loc["nominal"].index:
        cells = []
        for mode in ("central", "nominal", "time-matched"):
            of = times.loc[(mode, arm)]
            full = _clock(of["paper_matrix_scan_time_s"])
            cells.append(f"{of['acceleration']:.2f}; {_clock(of['scan_time_s'])}; {full}")
        rows.append([arm, *cells, _clock(times.loc[("nominal", arm)]["published_s"])])
    heads = ["central (here)", "nominal", "time-matched"]
    return table(["net AF; time here; time of 280 x 96 lines", *heads, "published time"], rows)


def _clock(seconds: float) -> str:
    return f"{round(seconds) // 60}:{round(seconds) % 60:02d}" if seconds == seconds else ""


def similarity_table() -> str:
    """Similarity to the reference arm by the definition fixed beforehand, the paper's figures beside."""
    table_of = pd.read_csv(GROUP / "similarity_definitions.tsv", sep="\t").set_index(["measure", "arm"])
    arms = list(dict.fromkeys(table_of.index.get_level_values("arm")))
    rows = []
    for measure, name in (("ssim", "SSIM"), ("psnr_db", "PSNR [dB]"), ("xsim", "XSIM"), ("rmse_ppb", "RMSE [ppb]")):
        of = table_of.loc[measure]
        scale = of["scale"].isin([PRIMARY[0], "none"])
        own = of[scale & (of["domain"] == PRIMARY[1]) & (of["dimension"] == PRIMARY[2])]
        cells = [f"{number(own.loc[arm, 'mean'])} ± {number(own.loc[arm, 'sd'], 2)}" for arm in arms]
        rows.append([name, *cells, " / ".join(str(told[0]) for told in PAPER.get(measure, {}).values())])
    return table(["against the reference", *arms, "published, AF 3 / 4 / 5"], rows)
