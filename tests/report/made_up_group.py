"""A made-up dataset: tables with the columns of the study, filled with values that no formatter can mistake."""

import numpy as np
import pandas as pd

from dlqsm.core.labels import NUCLEI
from dlqsm.report.group import GroupFigure, GroupReport

ARMS = ("PI2", "DL3", "DL4", "PI2rep")
PEOPLE = tuple(f"sub-{i:02d}" for i in range(1, 9))
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 300 80"><circle cx="40" cy="40" r="20"/></svg>'
WEBP = b"RIFF\x0c\x00\x00\x00WEBPVP8L"
EXAMPLE = GroupFigure("sub-04 in all arms", "Chosen by rule.", "Maps of sub-04.", WEBP, topic="maps")
SUMMARY_METHODS = {"inversion": {"method": "l1", "parameters": {}}, "reference": "brain"}


def make_values(*, lacking=(("sub-03", "DL4"),)):
    """mean = 10 arm + nucleus + person / 8; the pairs named have no row."""
    rows = [
        (person, arm, roi, side, 10.0 * i + j + k / 8)
        for k, person in enumerate(PEOPLE)
        for i, arm in enumerate(ARMS)
        for j, roi in enumerate(NUCLEI)
        for side in ("left", "right", "both")
        if (person, arm) not in lacking
    ]
    return pd.DataFrame(rows, columns=["participant_id", "arm", "roi", "side", "mean_ppb"])


def make_agreement():
    """Every cell another number, p values that lead to all four verdicts."""
    rng, rows = np.random.default_rng(0), []
    for arm in ARMS[1:]:
        for j, roi in enumerate(NUCLEI):
            for side in ("left", "right", "both"):
                bias, sd = rng.normal(0, 2), rng.uniform(0.5, 4)
                icc = rng.uniform(0.8, 0.99)
                tost, holm = (0.004, 0.3) if j % 4 == 0 else (0.01, 0.02) if j % 4 == 1 else (0.4, 0.0004)
                tost, holm = (0.21, 0.61) if j % 4 == 3 else (tost, holm)
                rows.append(
                    {
                        "arm": arm, "roi": roi, "side": side, "n": 7 if arm == "DL4" else 8,
                        "pearson_r": rng.uniform(0.7, 0.999), "pearson_p": rng.uniform(0, 0.01),
                        "bias_ppb": bias, "bias_low_ppb": bias - 1.11, "bias_high_ppb": bias + 1.11, "sd_ppb": sd,
                        "loa_low_ppb": bias - 1.96 * sd, "loa_high_ppb": bias + 1.96 * sd,
                        "percent_difference": rng.uniform(0, 9), "t": rng.normal(), "p": rng.uniform(0.001, 0.9),
                        "icc": icc, "icc_low": icc - 0.3, "icc_high": icc + 0.005, "ccc": rng.uniform(0.8, 0.99),
                        "tost_p": tost / 2, "tost_p_holm": tost, "p_holm": holm, "p_bh": rng.uniform(0, 1),
                        "sd_over_repeat": np.nan if arm == "PI2rep" else sd / 3,
                        "sd_over_repeat_low": np.nan if arm == "PI2rep" else sd / 4,
                        "sd_over_repeat_high": np.nan if arm == "PI2rep" else sd / 2,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def make_age():
    rng = np.random.default_rng(1)
    rows = [
        (
            arm,
            roi,
            len(PEOPLE),
            rng.uniform(-1, 1),
            rng.uniform(0.002, 1),
            rng.normal(),
            -0.7,
            0.8,
            rng.uniform(0.002, 1),
        )
        for arm in ARMS
        for roi in NUCLEI
    ]
    columns = ["arm", "roi", "n", "pearson_r", "p", "slope_ppb_per_year", "low", "high", "p_against_reference"]
    table = pd.DataFrame(rows, columns=columns)
    shift = rng.normal(0, 0.1, len(table))
    table = table.assign(
        slope_difference_ppb_per_year=shift, slope_difference_low=shift - 0.31, slope_difference_high=shift + 0.29
    ).assign(slope_margin=0.1, slope_tost_p=rng.uniform(0.002, 1, len(table)))
    table.loc[table.arm == "PI2", "p_against_reference":] = np.nan
    return table


def make_registration():
    rng = np.random.default_rng(2)
    table = pd.DataFrame(
        [
            (p, a, 0.9 + 0.01 * rng.uniform(), rng.uniform(0, 2), rng.uniform(0, 3), 1.0, "")
            for p in PEOPLE
            for a in ARMS
        ],
        columns=["participant_id", "arm", "score", "shift_mm", "rotation_deg", "coverage", "warnings"],
    )
    table.loc[(table.participant_id == "sub-05") & (table.arm == "DL3"), "score"] = 0.5
    table.loc[(table.participant_id == "sub-06") & (table.arm == "DL4"), "coverage"] = 0.949
    return table


def make_similarity():
    rows = [(p, a, 8.0 + i + j / 4, 0.9 - i / 32) for j, p in enumerate(PEOPLE) for i, a in enumerate(ARMS[1:])]
    return pd.DataFrame(rows, columns=["participant_id", "arm", "rmse_ppb", "ssim"])


def make_definitions(arms=ARMS[1:]):
    """Two definitions of each measure, far from the published figures and near them."""
    means = {("ssim", "window"): 0.6, ("ssim", "one"): 0.84, ("psnr_db", "max"): 24.0, ("psnr_db", "one"): 44.0}
    rows = [
        (arm, measure, scale, "brain", "3d", len(PEOPLE), mean + i / 64, mean - 0.03, mean + 0.07)
        for i, arm in enumerate(arms)
        for (measure, scale), mean in means.items()
    ]
    columns = ["arm", "measure", "scale", "domain", "dimension", "n", "mean", "lowest", "highest"]
    return pd.DataFrame(rows, columns=columns)


def make_mixed():
    """A line of every kind; cells and nuclei are for the file alone."""
    rows = [
        ("arm", "DL3", None, None, 0.31, 0.11, 0.51, 3.1, 0.004),
        ("nucleus", None, "Pu", None, 0.77, 0.1, 0.2, 1.0, 0.1),
        ("cell", "DL3", "Pu", None, 0.88, 0.1, 0.2, 1.0, 0.1),
        ("against_repeat", "DL3", None, None, -0.42, -0.92, 0.08, -1.7, 0.09),
        ("trend", "DL#", None, None, -0.65, -0.85, -0.45, -6.5, 0.0001),
        ("trend", "DL#", "Pu", None, -0.75, -0.95, -0.55, -7.5, 0.0002),
        ("test", None, None, "arm:nucleus", np.nan, np.nan, np.nan, 1.46, 0.14),
        ("sd", None, None, "participant:nucleus", 2.04, np.nan, np.nan, np.nan, np.nan),
    ]
    columns = ["kind", "arm", "roi", "effect", "estimate", "low", "high", "statistic", "p"]
    return pd.DataFrame(rows, columns=columns)


def make_accounts():
    """PI2 by SENSE, DL arms by the network; the rest of the chain is the same."""
    scan = {
        "field_strength_t": 3.0,
        "repetition_time_s": 0.03,
        "shape": [280, 280, 96],
        "voxel_size_mm": [0.8, 0.8, 2.0],
    }
    return {
        arm: {
            "scan": {**scan, "acceleration": factor, "scan_time_s": seconds},
            "methods": {"reconstruction": {"method": method, "parameters": {}}, **SUMMARY_METHODS},
        }
        for arm, factor, seconds, method in (
            ("PI2", 2.0, 405.6, "sense"), ("DL3", 3.0, 275.2, "joint"), ("DL4", 4.0, 195.0, "joint")
        )
    }  # fmt: skip


MIXED_ACCOUNT = {"Model": "difference ~ arm + (1 | participant)", "Converged": True, "VariancesAtZero": ["participant"]}
ANSWER = ("Up to an acceleration of AF 4 (DL4), every nucleus stays.", "AF 5 (DL5): not shown in RN.")


def make_group(**changes):
    people = pd.DataFrame({"participant_id": PEOPLE, "age": np.arange(21.0, 29.0), "sex": list("MFMFMFMF")})
    content = {
        "dataset": "A made-up cohort",
        "participants": people,
        "values": make_values(),
        "arms": ARMS,
        "reference_arm": "PI2",
        "margin_ppb": 3.0,
        "agreement": make_agreement(),
        "age": make_age(),
        "similarity": make_similarity(),
        "registration": make_registration(),
        "definitions": make_definitions(),
        "mixed": make_mixed(),
        "mixed_account": MIXED_ACCOUNT,
        "answer": ANSWER,
        "figures": (GroupFigure("Equivalence", "Within the margin or not.", "A picture of equivalence.", SVG),),
        "example": EXAMPLE,
        "pages": {person: f"{person}.html" for person in PEOPLE},
        "problems": {"sub-03": "DL4: the raw data end early"},
        "methods": SUMMARY_METHODS,
        "software": {"dlqsm": "0.1.0"},
    }
    return GroupReport(**(content | changes))
