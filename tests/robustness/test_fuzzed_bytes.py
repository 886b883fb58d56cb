"""Files whose bytes are changed at random: a result or a sentence, never anything else."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from fuzz_bench import Apart, Bench
from fuzzed_readers import READERS, Reader
from hypothesis import HealthCheck, Phase, given, settings
from mutations import changed

SHORT, LONG = 12, int(os.environ.get("DLQSM_FUZZ_EXAMPLES", "3000"))
"""Files a reader; the long version takes as many as the environment says."""


def _fuzz(bench: Bench | Apart, n_examples: int, *, derandomize: bool) -> None:
    @settings(
        max_examples=n_examples,
        derandomize=derandomize,
        phases=(Phase.explicit, Phase.generate),  # what is found is kept as a file; to shrink it takes minutes
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(changed(bench.content, is_packed=bench.reader.is_packed))
    def keeps_its_promises(content: bytes) -> None:
        bench.tried(content)

    keeps_its_promises()


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Iterator[Bench | Apart]:
    made = Apart(request.param) if request.param.may_crash else Bench(request.param)
    yield made
    made.close()


@pytest.mark.parametrize("bench", READERS, ids=lambda reader: reader.name, indirect=True)
def test_a_valid_file_is_read_and_changed_ones_are_read_or_refused(bench: Bench | Apart) -> None:
    assert bench.tried(bench.content) == "read"
    _fuzz(bench, SHORT, derandomize=True)
    assert bench.n_tried > SHORT / 2


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_thousands_of_changed_files(reader: Reader) -> None:
    bench, begun = Apart(reader), time.perf_counter()
    try:
        _fuzz(bench, LONG, derandomize=False)
    finally:
        bench.close()
        seconds = time.perf_counter() - begun
        print(f"fuzz {reader.name}: {bench.n_tried} executions, {seconds:.0f} s, {bench.n_refused} refused")
