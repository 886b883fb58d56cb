"""What to cite for a run: of each method that it uses the references that its docstring has, and of what all share."""

from __future__ import annotations

import inspect
from typing import Final

import dlqsm
from dlqsm.cohort.plan import FOR_RANDOM, FOR_UNIFORM, USUAL_ATLAS, VIRTUAL_ATLAS, Plan
from dlqsm.config import STEPS, TABLES
from dlqsm.nuclei import registration
from dlqsm.reconstruction import RECONSTRUCTIONS
from dlqsm.reconstruction.sensitivity import espirit

_HEAD: Final = """# Please cite

These results were made by dlqsm {version} (research software, not a medical device). The methods that ran, with their
parameters, stand on the page of each participant.

- The processing line: Zhou et al., Front Neurosci 19:1522227 (2025), doi:10.3389/fnins.2025.1522227.
- Consensus on QSM: QSM Consensus Organization Committee, Magn Reson Med 91:1834 (2024), doi:10.1002/mrm.30006.
- BIDS: Gorgolewski et al., Sci Data 3:160044 (2016), doi:10.1038/sdata.2016.44.
"""
_CIT168: Final = "Pauli, Nili & Tyszka, Sci Data 5:180063 (2018), doi:10.1038/sdata.2018.63."
"""Not from the docstring of its module, which writes a folder into the home when it is loaded."""


def citation_text(plan: Plan, *, raw_data: bool) -> str:
    """The content of CITATION.md for the methods of a plan; those of a reconstruction where there are raw data."""
    lines = [_line(f"{step}, {name}", TABLES[step][name]) for step, name in _steps(plan)]
    if raw_data:
        lines.append(_line("coil sensitivities", espirit))
        methods = plan.methods or (FOR_UNIFORM, FOR_RANDOM)
        lines += [_line(f"reconstruction, {name}", RECONSTRUCTIONS[name]) for name in methods]
    lines.append(_line("registration by ANTs", registration))
    if plan.atlas == USUAL_ATLAS:
        lines.append(f"- atlas CIT168: {_CIT168}")
    elif plan.atlas != VIRTUAL_ATLAS:
        lines.append("- atlas: that of your folder, as its makers ask for")
    known = [line for line in lines if line]
    return _HEAD.format(version=dlqsm.__version__) + "\n".join(known) + "\n"


def references_of(part: object) -> str:
    """The section References of the docstring of a function or module in one line; empty where it has none."""
    _, found, text = (inspect.getdoc(part) or "").partition("References\n----------\n")
    return " ".join(text.partition("\n\n")[0].split()) if found else ""


def _steps(plan: Plan) -> list[tuple[str, str]]:
    return [(step, getattr(plan.config, step).method) for step in STEPS]


def _line(what: str, part: object) -> str:
    references = references_of(part)
    return f"- {what}: {references}" if references else ""
