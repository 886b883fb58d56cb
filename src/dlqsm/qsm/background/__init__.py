"""Background field removal: total field to local field."""

from dlqsm.core.methods import Background
from dlqsm.qsm.background.lbv import lbv
from dlqsm.qsm.background.none import none
from dlqsm.qsm.background.pdf import pdf
from dlqsm.qsm.background.pdf_tv import pdf_tv
from dlqsm.qsm.background.resharp import resharp
from dlqsm.qsm.background.vsharp import vsharp

BACKGROUND_REMOVERS: dict[str, Background] = {
    "pdf_tv": pdf_tv,
    "vsharp": vsharp,
    "pdf": pdf,
    "lbv": lbv,
    "resharp": resharp,
    "none": none,
}

__all__ = ["BACKGROUND_REMOVERS", "lbv", "none", "pdf", "pdf_tv", "resharp", "vsharp"]
