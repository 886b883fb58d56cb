"""The number of threads, which belongs to the process, beside threads that ask for one."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from dlqsm.core.threads import one_thread


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def _nested(seconds: float) -> int:
    with one_thread():
        time.sleep(seconds)
        return torch.get_num_threads()


def test_threads_that_overlap_leave_the_number_as_it_was() -> None:
    # The last to end began while the first had it set to one.
    seconds = (0.05, 0.1, 0.2)
    with one_thread(), ThreadPoolExecutor(3) as pool:
        assert list(pool.map(_nested, seconds)) == [1, 1, 1]
    assert torch.get_num_threads() == 2
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 2


def test_it_is_restored_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), one_thread():
        raise ZeroDivisionError
    assert torch.get_num_threads() == 2
