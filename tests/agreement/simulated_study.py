"""A simulated study of 59 people whose sample moments are exact, so that each statistic has a closed form.

Every source of variation is a column of one orthogonal matrix, without mean and without correlation with age: biases,
spreads, slopes and variance components of the table are the numbers below, not estimates of them.
"""

import numpy as np
import pandas as pd

N_PEOPLE = 59
MEANS_PPB = {"Pu": 45.0, "Ca": 35.0, "GPe": 110.0, "GPi": 100.0, "RN": 80.0, "SNc": 90.0, "SNr": 120.0}
BETWEEN_PPB = {"Pu": 15.0, "Ca": 10.0, "GPe": 20.0, "GPi": 22.0, "RN": 25.0, "SNc": 20.0, "SNr": 24.0}
SLOPES_PPB_PER_YEAR = {"Pu": 0.8, "Ca": 0.15, "GPe": 0.1, "GPi": 0.0, "RN": 0.5, "SNc": 0.2, "SNr": -0.1}
BIAS_PPB = {"DL3": 0.2, "DL4": -0.8, "DL5": -1.5, "PI2rep": 0.1}
PERSON_PPB, PERSON_NUCLEUS_PPB = 1.0, 2.0
ERROR_PPB = {"DL3": 2.5, "DL4": 2.5, "DL5": 2.5, "PI2rep": 2.5}
SLOPE_DIFFERENCE_PPB_PER_YEAR = {"DL3": 0.0, "DL4": 0.03, "DL5": 0.12, "PI2rep": 0.0}


def ages_years(n_people=N_PEOPLE):
    ages = np.linspace(18.0, 75.0, n_people)
    return np.random.default_rng(1).permutation(ages)


def columns(ages, n_columns, seed=0):
    """Columns with mean 0 and SD 1, uncorrelated with each other and with age."""
    rng = np.random.default_rng(seed)
    draws = np.column_stack([np.ones_like(ages), ages, rng.normal(size=(ages.size, n_columns))])
    return np.linalg.qr(draws)[0][:, 2:] * np.sqrt(ages.size - 1)


def study(*, bias_ppb=None, error_ppb=None, slope_difference=None, seed=0):
    """Long table of side both; ``bias_ppb`` and ``error_ppb`` of an arm, or of (arm, nucleus) where it differs."""
    bias = {**BIAS_PPB, **(bias_ppb or {})}
    error = {**ERROR_PPB, **(error_ppb or {})}
    slopes = {**SLOPE_DIFFERENCE_PPB_PER_YEAR, **(slope_difference or {})}
    ages = ages_years()
    years = ages - ages.mean()
    arms, rois = tuple(BIAS_PPB), tuple(MEANS_PPB)
    drawn = iter(columns(ages, 1 + len(rois) * (2 + len(arms)), seed).T)
    person = PERSON_PPB * next(drawn)
    rows = []
    for roi in rois:
        reference = MEANS_PPB[roi] + SLOPES_PPB_PER_YEAR[roi] * years + BETWEEN_PPB[roi] * next(drawn)
        shared = person + PERSON_NUCLEUS_PPB * next(drawn)
        values = {"PI2": reference}
        for arm in arms:
            own = bias.get((arm, roi), bias[arm]) + slopes[arm] * years
            values[arm] = reference + own + shared + error.get((arm, roi), error[arm]) * next(drawn)
        rows += [
            (f"sub-{i + 1:02d}", ages[i], "M" if i < 22 else "F", arm, roi, "both", value[i])
            for arm, value in values.items()
            for i in range(ages.size)
        ]
    return pd.DataFrame(rows, columns=["participant_id", "age", "sex", "arm", "roi", "side", "mean_ppb"])


def difference_sd_ppb(arm, roi="Pu"):
    """SD of arm minus reference by construction."""
    by_age = SLOPE_DIFFERENCE_PPB_PER_YEAR[arm] * ages_years().std(ddof=1)
    return float(np.sqrt(PERSON_PPB**2 + PERSON_NUCLEUS_PPB**2 + ERROR_PPB[arm] ** 2 + by_age**2))
