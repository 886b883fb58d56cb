"""Dipole inversion: local field to susceptibility."""

from dlqsm.core.methods import Inversion
from dlqsm.qsm.inversion.direct import tikhonov, tkd
from dlqsm.qsm.inversion.fansi import fansi
from dlqsm.qsm.inversion.ilsqr import ilsqr
from dlqsm.qsm.inversion.l1 import l1
from dlqsm.qsm.inversion.medi import medi
from dlqsm.qsm.inversion.tgv import tgv
from dlqsm.qsm.inversion.tv import tv

INVERSIONS: dict[str, Inversion] = {
    "l1": l1,
    "tv": tv,
    "fansi": fansi,
    "medi": medi,
    "tgv": tgv,
    "ilsqr": ilsqr,
    "tkd": tkd,
    "tikhonov": tikhonov,
}

__all__ = ["INVERSIONS", "fansi", "ilsqr", "l1", "medi", "tgv", "tikhonov", "tkd", "tv"]
