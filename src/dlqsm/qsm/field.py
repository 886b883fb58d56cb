"""Estimators of the field by name."""

from collections.abc import Callable
from typing import Final

from dlqsm.qsm.fit import fit
from dlqsm.qsm.mdi import FieldEstimate, mdi

FIELD_ESTIMATORS: Final[dict[str, Callable[..., FieldEstimate]]] = {"mdi": mdi, "fit": fit}
