"""A made-up cohort as a long table."""

import numpy as np
import pandas as pd

MEANS_PPB = {"Pu": 45.0, "Ca": 35.0, "GPe": 110.0, "RN": 80.0}
BIAS_AND_ERROR_PPB = {"PI2": (0.0, 3.0), "DL3": (0.5, 3.0), "DL5": (-4.0, 6.0), "PI2rep": (0.0, 3.0)}


def cohort(n_people=24, *, rois=tuple(MEANS_PPB), arms=tuple(BIAS_AND_ERROR_PPB), seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for person in range(n_people):
        age, sex = float(rng.uniform(20, 75)), "FM"[person % 2]
        for roi in rois:
            true = MEANS_PPB[roi] + rng.normal(0, 12) + 0.4 * (age - 47)
            for arm in arms:
                bias, error = BIAS_AND_ERROR_PPB[arm]
                left, right = true + bias + rng.normal(0, error, 2)
                for side, value in (("left", left), ("right", right), ("both", (left + right) / 2)):
                    rows.append((f"sub-{person:02d}", age, sex, arm, roi, side, value))
    return pd.DataFrame(rows, columns=["participant_id", "age", "sex", "arm", "roi", "side", "mean_ppb"])
