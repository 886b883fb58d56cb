"""How many processor threads volumes are computed with."""

import numba
import torch


def use_threads(n_threads: int) -> None:
    """Let PyTorch and Numba use so many threads from the calling one on; Numba never more than it uses already."""
    torch.set_num_threads(n_threads)
    numba.set_num_threads(min(n_threads, numba.get_num_threads()))
