"""Tables of the documentation that are made from benchmarks/results."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import pandas as pd
from markdown_rows import number, table
from memory_tables import needs_table, paper_table
from planted_faults_table import false_alarm_lines, fault_lines
from qsm_rows import MEGABYTES, RESULTS, SECONDS, means, read_peers, read_rows
from qsm_tables import ERRORS, PEER_COLUMNS
from replication_tables import age_table, bars_table, bias_table, origin_table, scan_times_table, similarity_table

FILES: Mapping[str, str] = {
    "acceptance": "acceptance.py: the whole line on three virtual heads, protocol `small`, by each chain",
    "acceptance_chain": "acceptance.py --rows chain: the same heads, fully sampled, by later chains",
    "acceptance_invariances": "acceptance.py: what must not matter: tilt, odd matrix, echo spacing",
    "acceptance_paper": "acceptance.py: one head at the paper's matrix",
    "alarm_figures": "alarm_figures.py: figures that alarms judge, of the participants of the repeated study",
    "bench_problem_large": "bench_problem.py: a public head, large, by earlier chains",
    "bench_problem_small": "bench_problem.py: a public head, small",
    "bias": "bias.py: where the change of nuclei in an accelerated arm comes from",
    "bids_validity": "bids_validity.py: derivatives of many forms by the validator of BIDS",
    "cit168": "cit168.py: the CIT168 atlas on a real head and a virtual one",
    "cohort": "cohort.py: six virtual participants, killed and resumed; the registration then ran on two threads",
    "cohort_of_200": "cohort_of_200.py: two hundred, three of them spoilt",
    "cohort_resumed": "cohort.py: two, with the registration as it is; seconds left out, since other work ran beside",
    "cs_against_peers": "cs_against_peers.py: compressed sensing beside BART and SigPy",
    "cs_line": "cs_against_peers.py: linear methods and compressed sensing through the whole line",
    "memory_plan": "memory_plan.py: memory of each command beside its plan",
    "numerics": "numerics.py: threads, repeats, and what must not matter to the whole line",
    "planted_faults": "planted_faults.py: figures of clean participants and of 12 planted faults",
    "qsm": "qsm.py: each method of QSM on the public head",
    "qsm_growth": "qsm_figure.py: exponents of seconds and memory over sizes",
    "qsm_heads": "qsm_heads.py: virtual heads under other conditions",
    "qsm_heads_paper": "qsm_heads.py: four heads at the paper's matrix",
    "qsm_heads_slices": "qsm_heads.py: three heads at slices of 4 mm",
    "qsm_strength": "qsm_strength.py: the chosen strength beside constants",
    "raw_paper_size": "raw_paper_size.py: raw data of the paper's size",
    "reconstruction": "reconstruction.py: each slab, mask and method",
    "reconstruction_line": "reconstruction.py --line: the whole line of two heads",
    "reconstruction_summary": "reconstruction.py: the same as means over heads and masks",
    "registration": "registration.py: atlas labels beside true ones",
    "replication": "replication_bars.py: bars of the repeated study beside those of its repeat",
    "replication_first": "replication_bars.py: the first study: other people, no final steps, labels by one arm",
    "replication_steps": "replication_bars.py: the second: as the first, with final steps, of the people of the last",
    "scale": "scale.py: accelerations of a coarse matrix beside the published one",
    "scheduling": "scheduling.py: what handing out tasks costs",
}
"""File of results to the script that makes it, and what it is about."""
STEPS_OF_NUMERICS = (
    "lag sums",
    "noise",
    "R2*",
    "brain mask",
    "reconstruction",
    "field",
    "unwrap",
    "background",
    "inversion",
    "whole line",
)
NUCLEI = ("Pu", "Ca", "GPe", "GPi", "RN", "SNc", "SNr")


@functools.cache
def read(name: str) -> pd.DataFrame:
    """A file of results."""
    return pd.read_csv(RESULTS / f"{name}.tsv", sep="\t", keep_default_na=False)


def files_table() -> str:
    """Every file of results: rows, and how many of those with a bound are within it."""
    rows = []
    for name, what in FILES.items():
        told = read(name)
        judged = told["result"].value_counts().to_dict() if "result" in told else {}
        bound = {"pass", "FAIL"} & set(judged)
        counts = [str(judged.get(word, 0)) if bound else "no bound" for word in ("pass", "FAIL")]
        rows.append([f"[{name}.tsv](../benchmarks/results/{name}.tsv)", what, str(len(told)), *counts])
    return table(["file", "made by", "rows", "within their bound", "outside"], rows)


def stage_table(stage: str, *, peers: bool) -> str:
    """One stage of QSM on the large public head: means over seeds, other tools below."""
    errors = ERRORS[stage]
    rows = []
    for name, row in means(read_rows([RESULTS / "qsm.tsv"]), "large", stage).iterrows():
        rows.append([f"`{name}`", *(number(row[column]) for column in (SECONDS, MEGABYTES, *errors))])
    for peer in read_peers(stage, "large").to_dict("records") if peers else ():
        case = f", {peer['case']}" if isinstance(peer["case"], str) else ""
        columns = (SECONDS, MEGABYTES, *(PEER_COLUMNS.get(measure, measure) for measure in errors))
        named = f"{peer['tool']} {peer['version']}, {peer['method']}{case}"
        rows.append([named, *(number(peer[column]) for column in columns)])
    return table(["", "CPU s", "MB", *errors.values()], rows)


def heads_table() -> str:
    """Virtual heads by their true labels: nuclei, worst, brain [ppb], by both chains."""
    told = pd.concat([read("qsm_heads"), read("qsm_heads_paper"), read("qsm_heads_slices")])
    told = told.drop_duplicates(["test", "measure", "seed", "chain"], keep="last")
    measures = ("mean absolute nucleus error ppb", "worst nucleus error ppb", "brain RMSE ppb")
    wide = told[told["measure"].isin(measures)].assign(value=lambda t: t["value"].astype(float))
    wide = wide.pivot_table(index=["test", "seed", "chain"], columns="measure", values="value", sort=False)
    rows = [[*map(str, case), *(number(row[measure]) for measure in measures)] for case, row in wide.iterrows()]
    return table(["condition", "seed", "chain", "nuclei, mean", "nuclei, worst", "brain RMSE"], rows)


def slabs_table() -> str:
    """Reconstructions of slabs of heads that nobody has seen: field error in brain and nuclei, by acceleration."""
    told = read("reconstruction_summary")
    told = told[(told["test"] == "slabs") & (told["condition"] == "standard")]
    wide = told.assign(value=told["value"].astype(float)).pivot_table(
        index="method", columns=["measure", "af"], values="value", aggfunc="first", sort=False
    )
    columns = [(m, af) for m in ("nrmse_percent", "brain_hz", "nuclei_hz") for af in ("3", "5", "8")]
    wide = wide.rename(columns=str, level="af")
    rows = [
        [f"`{name}`", *(number(row[c]) if c in wide.columns else "" for c in columns)] for name, row in wide.iterrows()
    ]
    heads = [f"{what}, AF {af}" for what in ("NRMSE %", "brain Hz", "nuclei Hz") for af in ("3", "5", "8")]
    return table(["", *heads], rows)


def line_table() -> str:
    """The whole line of two heads at AF 5: nuclei against those of the full scan."""
    told = read("reconstruction_line")
    columns = ("mean_abs_change_ppb", "worst_change_ppb", "slope", "field_hz", "edge_chi", "recon_cpu_s")
    rows = [
        [str(row["head"]), str(row["af"]), f"{row['method']} {row['weights']}".strip()]
        + [number(float(row[column])) for column in columns]
        for row in told.to_dict("records")
    ]
    heads = ["mean change ppb", "worst ppb", "slope", "field Hz", "edges", "CPU s"]
    return table(["head", "AF", "method, weights", *heads], rows)


def peers_table() -> str:
    """Compressed sensing of one head beside others: the best strength of each."""
    told = read("cs_against_peers")
    told = told[told["measure"] == "NRMSE clean %"].assign(value=lambda t: t["value"].astype(float))
    best = told.loc[told.groupby(["method", "af"], sort=False)["value"].idxmin()]
    rows = []
    for method in dict.fromkeys(told["method"]):
        mine = best[best["method"] == method].set_index("af")
        cells = [(mine.loc[af, "value"], mine.loc[af, "cpu_s_per_echo"]) for af in (3, 5)]
        rows.append([method, *(number(float(cell)) for pair in cells for cell in pair)])
    return table(["", "NRMSE %, AF 3", "CPU s an echo", "NRMSE %, AF 5", "CPU s an echo"], rows)


def registration_table() -> str:
    """Atlas labels of virtual heads beside true ones, by what the atlas was registered on."""
    told = read("registration")
    told = told[told["head"] == "all"].set_index(["channels", "measure"])["value"].astype(float)
    rows = []
    for channels in dict.fromkeys(told.index.get_level_values(0)):
        mine = told[channels]
        for measure, what in (("Dice 1 mm {}", "Dice at 1 mm"), ("mean minus true labels ppb, label {}", "error ppb")):
            values = [mine[measure.format(roi)] for roi in NUCLEI]
            rows.append([channels, what, *(number(v.iloc[0] if hasattr(v, "iloc") else v) for v in values)])
    return table(["registered on", "", *NUCLEI], rows)


def threads_table() -> str:
    """Each method of each step: the same bits again, one thread against two, and the processor against a GPU."""
    told = read("numerics")
    told = told[told["test"].isin(STEPS_OF_NUMERICS)]
    cuda = "CPU against CUDA, relative"
    rows = []
    for (step, method), mine in told.groupby(["test", "method"], sort=False):
        values, bounds = (mine.set_index("measure")[column].to_dict() for column in ("value", "bound"))
        same, change = float(values["repeated, 1 for the same bits"]) == 1.0, "1 against 2 threads, relative"
        on_gpu = number(float(values[cuda])) if cuda in values else "not measured"
        largest = bounds[change].rpartition("..")[2]
        rows.append([str(step), f"`{method}`", "yes" if same else "no", number(float(values[change])), largest, on_gpu])
    heads = ["step", "method", "repeat has the same bits", "1 against 2 threads", "bound", "CPU against CUDA"]
    return table(heads, rows)


def relations_table() -> str:
    """What moves chi by how much, by chain."""
    told = read("numerics")
    told = told[told["measure"] == "change of chi, relative"]
    wide = told.pivot_table(index="test", columns="method", values="value", aggfunc="first", sort=False)
    chains = list(dict.fromkeys(told["method"]))
    rows = [[str(name), *(_exponent(row[chain]) for chain in chains)] for name, row in wide.iterrows()]
    return table(["", *(f"`{chain}`" for chain in chains)], rows)


def _exponent(value: object) -> str:
    number_of = float(str(value))
    if number_of != number_of:
        return ""
    return "0" if number_of == 0.0 else f"{number_of:.0e}"


def plain_table(name: str, columns: Sequence[str]) -> str:
    """Rows of a short file as they are."""
    rows = [[_cell(row[column]) for column in columns] for row in read(name).to_dict("records")]
    return table([column.replace("_", " ") for column in columns], rows)


def _cell(value: object) -> str:
    try:
        return number(float(str(value)), 4)
    except ValueError:
        return str(value)


def rows_table(lines: Sequence[str]) -> str:
    """Lines of cells parted by tabs, the first of them the head."""
    head, *rows = (text.split("\t") for text in lines)
    return table(head, rows)


RESULT_TABLES: Mapping[str, Callable[[], str]] = {
    "files": files_table,
    "heads": heads_table,
    "slabs": slabs_table,
    "line": line_table,
    "cs beside others": peers_table,
    "registration": registration_table,
    "memory": lambda: plain_table("memory_plan", ("command", "size", "planned_mb", "measured_mb", "ratio", "result")),
    "memory of the paper": paper_table,
    "needs": needs_table,
    "raw data": lambda: plain_table("raw_paper_size", ("measure", "value", "peak_mb")),
    "numerics threads": threads_table,
    "numerics relations": relations_table,
    "planted faults": lambda: rows_table(fault_lines(read("planted_faults"))),
    "false alarms": lambda: rows_table(false_alarm_lines(read("alarm_figures"))[1:]),
    "bias": lambda: origin_table(read("bias")),
    "replication bars": lambda: bars_table(read("replication")),
    "replication bias": lambda: bias_table(read("replication")),
    "replication first bars": lambda: bars_table(read("replication_first")),
    "replication first bias": lambda: bias_table(read("replication_first")),
    "replication steps bars": lambda: bars_table(read("replication_steps")),
    "replication steps bias": lambda: bias_table(read("replication_steps")),
    "replication age": lambda: age_table(read("replication")),
    "replication scan times": scan_times_table,
    "replication similarity": similarity_table,
    "false alarms of clean scans": lambda: rows_table(false_alarm_lines(read("planted_faults"))[1:]),
    "growth": lambda: plain_table("qsm_growth", ("test", "measure", "value", "bound", "result")),
    **{f"stage {stage}": functools.partial(stage_table, stage, peers=True) for stage in ERRORS},
    **{f"measured {stage}": functools.partial(stage_table, stage, peers=False) for stage in ERRORS},
}
"""What a page may ask for by name."""
