"""How many processor threads volumes are computed with."""

from collections.abc import Iterator
from contextlib import contextmanager

import numba
import torch


def use_threads(n_threads: int) -> None:
    """Let PyTorch and Numba use so many threads from the calling one on; Numba never more than it uses already."""
    torch.set_num_threads(n_threads)
    numba.set_num_threads(min(n_threads, numba.get_num_threads()))


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread of the CPU inside the block, also in threads that are started there.

    The number belongs to the process: threads side by side that each set and restored it would leave it to chance.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
