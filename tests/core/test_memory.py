"""Planned memory: the arithmetic, what is told of it, and when work is refused."""

import pytest

from dlqsm.core.checks import InputError
from dlqsm.core.memory import MB, Need, in_words, plan_sentence, require_granted, require_possible


def test_a_need_is_its_fixed_part_and_bytes_of_voxels_echoes_and_coils() -> None:
    need = Need(100, voxel=10, echo=4, coil=8)
    assert need.planned_bytes(0) == 100 * MB
    assert need.planned_bytes(MB) == 110 * MB
    assert need.planned_bytes(MB, 3) == 122 * MB
    assert need.planned_bytes(MB, 3, 2) == (100 + 10 + 3 * (4 + 2 * 8)) * MB


def test_more_voxels_echoes_or_coils_never_need_less() -> None:
    need = Need(1, voxel=2, echo=3, coil=4)
    sizes = [(1000, 1, 1), (1001, 1, 1), (1001, 2, 1), (1001, 2, 2)]
    planned = [need.planned_bytes(*size) for size in sizes]
    assert planned == sorted(set(planned))


@pytest.mark.parametrize(("n_bytes", "words"), [(640 * MB, "640 MB"), (999 * MB, "999 MB"), (1900 * MB, "1.9 GB")])
def test_bytes_are_told_in_the_unit_that_suits(n_bytes: int, words: str) -> None:
    assert in_words(n_bytes) == words
    assert plan_sentence(n_bytes, 22_100 * MB) == f"Memory: about {words} planned, 22.1 GB free"


def test_what_is_granted_bounds_the_work_and_the_sentence_has_both_numbers() -> None:
    require_granted(500 * MB, None, "do without")
    require_granted(500 * MB, 500, "do without")
    with pytest.raises(InputError, match=r"^needs about 501 MB, --mem grants 500 MB; do without$"):
        require_granted(501 * MB, 500, "do without")


def test_more_than_there_is_in_all_is_refused() -> None:
    require_possible(8 * MB, 8 * MB, "buy some")
    with pytest.raises(InputError, match=r"needs about 9 MB, .* has 8 MB in all; buy some"):
        require_possible(9 * MB, 8 * MB, "buy some")
