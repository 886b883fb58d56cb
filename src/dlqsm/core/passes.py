"""Fused passes over memory on the CPU: Numba kernels run in slabs of the first axis, shared by threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[Any]
FAST = {"contract", "nsz", "arcp", "reassoc"}
"""Rewritings that let the loops become vector instructions and keep infinities and NaN what they are."""


def in_slabs(kernel: Callable[..., Any], n: int, n_threads: int, *arguments: Any) -> tuple[float, float]:
    """Call ``kernel(first, last, *arguments)`` for slabs of the first axis, one a thread, and add what they return."""
    if n_threads < 2:
        change, size = kernel(0, n, *arguments)
        return change, size
    ends = np.linspace(0, n, n_threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(n_threads) as pool:
        found = list(pool.map(lambda a, b: kernel(a, b, *arguments), ends[:-1], ends[1:]))
    return sum(change for change, _ in found), sum(size for _, size in found)


def suits_passes(*values: torch.Tensor) -> bool:
    """Whether fused passes may take these tensors: all on the CPU, and none asks for a gradient."""
    return all(value.device.type == "cpu" and not value.requires_grad for value in values)


def array_of(value: torch.Tensor) -> Array:
    """The tensor's memory as a C-ordered array, copied only where it is not in that order."""
    array: Array = value.resolve_conj().contiguous().numpy()
    return array
