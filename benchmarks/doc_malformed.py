"""The table of malformed inputs for the documentation, from the cases that the tests run."""

from __future__ import annotations

import sys
from pathlib import Path

from markdown_rows import table

_TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path[:0] = [str(_TESTS / part) for part in ("robustness", "io", "reconstruction", "")]

from malformed_case import PAINS, Case  # noqa: E402
from malformed_table import KINDS  # noqa: E402


def malformed_table() -> str:
    """A section a kind of input, with one row a case."""
    return "\n\n".join(_section(title, cases) for title, cases in KINDS.items())


def malformed_count() -> str:
    """How many cases there are, and how many of the 25 pains are among them."""
    cases = [case for of_kind in KINDS.values() for case in of_kind]
    n_pains = len({case.pain for case in cases if case.pain is not None})
    n_some = sum(case.exit_code == 1 for case in cases)
    return (
        f"{len(cases)} inputs: {len(cases) - n_some} are refused with exit code 2; {n_some} concern one participant of "
        f"a dataset, so that `dlqsm run` names them and ends with 1. {n_pains} of the 25 things that users of such "
        "tools complain of most are among them."
    )


def _section(title: str, cases: tuple[Case, ...]) -> str:
    rows = [[case.what, f"`{case.line}`", str(case.exit_code), PAINS.get(case.pain or 0, "")] for case in cases]
    return f"## {title}\n\n{table(['input', 'what dlqsm says', 'exit code', 'often reported'], rows)}"
