"""Published data that the statistics are tested on, each with its source."""

import numpy as np

# Peak expiratory flow rate [l/min] of 17 people, twice by each of two meters.
# Bland & Altman, Lancet 327:307 (1986), doi:10.1016/S0140-6736(86)90837-8, Table "PEFR measured with Wright peak flow
# and mini Wright peak flow meter".
WRIGHT = np.array(
    [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427], dtype=np.float64
)
WRIGHT_AGAIN = np.array(
    [490, 397, 512, 401, 470, 611, 415, 431, 638, 429, 420, 633, 275, 492, 165, 372, 421], dtype=np.float64
)
MINI = np.array([512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451], dtype=np.float64)
MINI_AGAIN = np.array(
    [525, 415, 508, 444, 500, 625, 460, 390, 642, 432, 420, 605, 227, 467, 268, 370, 443], dtype=np.float64
)

# Six targets rated by four judges.
# Shrout & Fleiss, Psychol Bull 86:420 (1979), doi:10.1037/0033-2909.86.2.420, Table 2.
JUDGES = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=np.float64
)

# Hours of sleep that ten people gained by each of two drugs.
# Student, Biometrika 6:1 (1908), doi:10.1093/biomet/6.1.1, the table of section IX; `sleep` in R.
FIRST_DRUG = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0], dtype=np.float64)
SECOND_DRUG = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4], dtype=np.float64)


def pairs_of(rng, n, *, bias=0.0, between=15.0, within=4.0, mean=60.0):
    """Values and reference of n people who differ by ``between``, each measured with the error ``within``."""
    true = rng.normal(mean, between, n)
    return true + bias + rng.normal(0, within, n), true + rng.normal(0, within, n)
