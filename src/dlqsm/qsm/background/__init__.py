"""Background field removal: total field to local field."""

from dlqsm.core.methods import Background
from dlqsm.qsm.background.pdf import pdf
from dlqsm.qsm.background.vsharp import vsharp

BACKGROUND_REMOVERS: dict[str, Background] = {"vsharp": vsharp, "pdf": pdf}

__all__ = ["BACKGROUND_REMOVERS", "pdf", "vsharp"]
