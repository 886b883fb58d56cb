"""Options out of their range: every method of every step names the option, before it computes anything."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dlqsm.config import TABLES, read_qsm_config
from dlqsm.core.checks import InputError
from dlqsm.core.lags import LagSums
from dlqsm.core.methods import choose, options_of
from dlqsm.core.scan import Grid, Scan

GRID = Grid((12, 12, 12), (2.0, 2.0, 2.0))
SCAN = Scan(GRID, (0.004, 0.008, 0.012), 3.0, (0.0, 0.0, 1.0))
ONES = torch.ones(GRID.shape)
MASK = torch.zeros(GRID.shape, dtype=torch.bool)
MASK[3:9, 3:9, 3:9] = True


def inputs_of(step: str) -> tuple[Any, ...]:
    """Arguments of any method of a step."""
    return {
        "reconstruction": (
            torch.ones(1, 2, 3, 8, 8, dtype=torch.complex64),
            torch.ones(8, 8, dtype=torch.bool),
            torch.full((2, 3, 8, 8), 0.5**0.5, dtype=torch.complex64),
            0.1,
        ),
        "field": (
            LagSums(torch.ones(2, *GRID.shape, dtype=torch.complex64), torch.ones(3, *GRID.shape), ONES, 1),
            SCAN,
        ),
        "unwrap": (ONES * MASK, MASK, SCAN, None),
        "background": (ONES * MASK, MASK, SCAN, None),
        "inversion": (ONES * MASK, MASK, SCAN, None, None),
    }[step]


def below_range() -> Iterator[Any]:
    """Every option that is a number, or numbers, with one below zero, which none allows."""
    for step, table in TABLES.items():
        for method, call in table.items():
            for option in options_of(call).values():
                if option.kind in (int, float, tuple):
                    value = (-1.0,) if option.kind is tuple else option.kind(-1)
                    yield pytest.param(step, call, option.name, value, id=f"{step} {method} {option.name}")


@pytest.mark.parametrize(("step", "call", "name", "value"), list(below_range()))
def test_a_number_below_zero_is_refused_by_the_name_of_its_option(
    step: str, call: Callable[..., Any], name: str, value: Any
) -> None:
    with pytest.raises(InputError, match=name):
        call(*inputs_of(step), **{name: value})


@pytest.mark.parametrize(("step", "call", "name", "value"), list(below_range()))
def test_it_is_refused_when_the_method_is_chosen(step: str, call: Callable[..., Any], name: str, value: Any) -> None:
    """A study's configuration is read before anything runs; the step itself comes after minutes."""
    method = next(known for known, its_call in TABLES[step].items() if its_call is call)
    with pytest.raises(InputError, match=f"{name} of the {step} method '{method}' must be zero or more"):
        choose(step, TABLES[step], method, {name: value})


def test_a_configuration_file_with_a_number_below_zero_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    for text in (
        "[inversion]\nstrength = -1.0",
        "[background]\nmethod = 'vsharp'\nradii_mm = [8.0, -2.0]",
        "[reconstruction.cs]\nmax_iterations = -1",
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=r"study\.toml: \w+ of the \w+ method '\w+' must be zero or more; got -"):
            read_qsm_config(path)


@pytest.mark.parametrize(
    ("step", "method", "name"),
    [
        (step, method, option)
        for step, table in TABLES.items()
        for method, call in table.items()
        for option in options_of(call)
        if option in ("max_iterations", "max_cycles", "n_iterations", "working_voxel_mm")
    ],
)
def test_no_step_at_all_is_refused(step: str, method: str, name: str) -> None:
    """A solver that takes no step would return its start as the answer."""
    with pytest.raises(InputError, match=name):
        TABLES[step][method](*inputs_of(step), **{name: 0})


def test_an_empty_list_of_radii_is_refused() -> None:
    with pytest.raises(InputError, match="radii_mm is empty"):
        TABLES["background"]["vsharp"](*inputs_of("background"), radii_mm=())
