"""The same input gives the same bits again; other threads and devices give the same map within a stated bound."""

import pytest
import torch
from numeric_steps import (
    CUDA_BOUNDS,
    CUDA_ROUNDING,
    LEARNED,
    SAME,
    STEPS,
    THREAD_BOUNDS,
    on_device,
    problem,
    relative,
    run,
)

from dlqsm.config import TABLES

QUICK = [key for key in STEPS if key not in LEARNED]
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def names(key):
    return " ".join(key)


def check(key, *, fine):
    given = problem(fine)
    one, two, again = (run(key, given, n_threads) for n_threads in (1, 2, 2))
    assert torch.equal(two, again)
    assert relative(one, two) <= THREAD_BOUNDS.get(key, SAME)


def test_every_method_is_a_step():
    assert set(STEPS) >= {(step, name) for step, table in TABLES.items() for name in table}


@pytest.mark.parametrize("key", QUICK, ids=names)
def test_a_repeat_gives_the_same_bits_and_threads_the_same_map(key):
    check(key, fine=False)


@pytest.mark.soak
@pytest.mark.parametrize("key", STEPS, ids=names)
def test_the_same_where_threads_share_every_sum(key):
    check(key, fine=True)


@pytest.mark.gpu
@CUDA
@pytest.mark.parametrize("key", STEPS, ids=names)
def test_a_gpu_gives_what_the_processor_gives(key):
    given = problem(False)
    here, there = run(key, given, 1), run(key, on_device(given, "cuda"), 1)
    assert relative(here, there) <= CUDA_BOUNDS.get(key, CUDA_ROUNDING)
