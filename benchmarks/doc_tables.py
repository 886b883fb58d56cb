"""Tables of the documentation that are made: methods with their options, modules, and what was measured.

A page marks the place of a table by ``<!-- made: WHAT -->`` and ``<!-- end -->``. This writes what belongs between
them: methods from the tables of the package and the docstrings of its functions, figures from benchmarks/results.

python benchmarks/doc_tables.py [--check]     # --check only tells pages that are out of date
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from doc_malformed import malformed_count, malformed_table
from doc_results import RESULT_TABLES
from markdown_rows import table

import dlqsm
from dlqsm.acquisition.sampling import SAMPLINGS
from dlqsm.cohort.plan import default_method
from dlqsm.config import STEPS, TABLES, QsmConfig
from dlqsm.core.alarms import ALARMS, shown
from dlqsm.core.methods import options_of

ROOT = Path(__file__).resolve().parent.parent
METHODS: Mapping[str, Mapping[str, Callable[..., Any]]] = {"sampling": SAMPLINGS, **TABLES}
OPTION = {"sampling": "--kind", "reconstruction": "--method"}
"""Option that chooses a method; ``--STEP`` of `dlqsm qsm` where not named."""
TABLES_BY_NAME = {**RESULT_TABLES, "malformed count": malformed_count, "malformed table": malformed_table}
_PLACE = re.compile(r"(<!-- made: (?P<what>[\w ]+) -->\n).*?(<!-- end -->)", flags=re.S)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a page is out of date")
    arguments = parser.parse_args()
    stale = []
    for page in sorted((ROOT / "docs").rglob("*.md")):
        old = page.read_text()
        new = _PLACE.sub(lambda found: f"{found[1]}\n{made(found['what'])}\n\n{found[3]}", old)
        if new != old:
            stale.append(str(page.relative_to(ROOT)))
            if not arguments.check:
                page.write_text(new)
    print("\n".join(f"{'out of date' if arguments.check else 'written'}: {name}" for name in stale))
    return int(arguments.check and bool(stale))


def made(what: str) -> str:
    """What belongs between a pair of marks."""
    if what in TABLES_BY_NAME:
        return TABLES_BY_NAME[what]()
    kind, _, step = what.partition(" ")
    return {"methods": methods_of, "overview": overview_of, "modules": modules_of, "alarms": alarms_table}[kind](step)


def modules_of(part: str) -> str:
    """The public modules of a part of the package, as mkdocstrings wants them; compiled loops are left out."""
    package = Path(dlqsm.__file__).parent
    files = [f for f in sorted((package / part).rglob("*.py")) if not re.search(r"__init__|_kernels?$", f.stem)]
    return "\n\n".join(f"::: {'.'.join(('dlqsm', *f.relative_to(package).with_suffix('').parts))}" for f in files)


def overview_of(_: str) -> str:
    """One row a step: its methods, the default marked."""
    rows = []
    for step, methods in METHODS.items():
        page = {"unwrap": "unwrapping"}.get(step, step)
        names = [f"**`{name}`**" if name in defaults(step) else f"`{name}`" for name in methods]
        rows.append([f"[{page}]({page}.md)", ", ".join(names)])
    return table(["step", "methods (defaults in bold)"], rows)


def alarms_table(_: str) -> str:
    """One row an alarm: level, figure, limits, meaning, what to do, and what the limit rests on."""
    rows = []
    for name, limit in ALARMS.items():
        bounds = [f"at {word} {shown(b, limit.unit)}" for word, b in (("least", limit.least), ("most", limit.most))
                  if b is not None]  # fmt: skip
        what = limit.about.removesuffix(",")
        rows.append([f"`{name}`", limit.level, what, ", ".join(bounds), limit.means, limit.remedy, limit.source])
    return table(["alarm", "level", "figure", "limit", "usually means", "what to do", "rests on"], rows)


def defaults(step: str) -> dict[str, str]:
    """Methods that are taken where none is named, and when."""
    if step == "sampling":
        return {"poisson": "the default"}
    if step == "reconstruction":
        regular, random = (default_method(uniform=uniform) for uniform in (True, False))
        return {
            regular: "the default of regular sampling",
            random: "the default of Poisson-disk sampling in `dlqsm run`",
        }
    return {getattr(QsmConfig(), step).method: "the default"} if step in STEPS else {}


def methods_of(step: str) -> str:
    """A section a method: what it does, its options with their defaults, its sources."""
    return "\n\n".join(_section(step, name, method) for name, method in METHODS[step].items())


def _section(step: str, name: str, method: Callable[..., Any]) -> str:
    text, source = _described(method)
    standing = defaults(step).get(name)
    chosen = f"`{OPTION.get(step, f'--{step}')} {name}`" + (f", {standing}" if standing else "")
    prefix = f"{step}-" if step in STEPS else ""
    rows = [
        [f"`--{prefix}{o.name.replace('_', '-')}`", _value(o.default), o.help]
        for o in options_of(method).values()
    ]  # fmt: skip
    options = table(["option", "default", "what it does"], rows) if rows else "It has no options."
    return "\n\n".join(part for part in (f"### {name}", chosen, text, options, source) if part)


def _described(method: Callable[..., Any]) -> tuple[str, str]:
    """Text of a docstring before its sections, as Markdown, and its sources with links."""
    doc = inspect.getdoc(method) or ""
    text = re.split(r"\n\w+\n-{3,}\n", doc)[0].strip()
    blocks = re.split(r"\n\n", text)
    shown = "\n\n".join(_formula(block) if block.startswith("    ") else _prose(block) for block in blocks)
    found = re.search(r"^References\n-+\n(.+)\Z", doc, flags=re.S | re.M)
    return shown, _sources(" ".join(found[1].split())) if found else ""


def _formula(block: str) -> str:
    return f"```text\n{inspect.cleandoc(block)}\n```"


def _prose(block: str) -> str:
    """Prose with formulas in it: signs that Markdown would read are escaped outside of code."""
    parts = re.split(r"(``[^`]+``|`[^`]+`)", " ".join(block.split()))
    return "".join(part if part.startswith("`") else re.sub(r"([*<>_])", r"\\\1", part) for part in parts)


def _sources(text: str) -> str:
    return "Source: " + re.sub(r"doi:(10\.[^\s;,)]+?)(?=[.;,)]*(?:\s|$))", r"[doi:\1](https://doi.org/\1)", text)


def _value(default: object) -> str:
    if default is None:
        return "chosen by the method"
    if isinstance(default, tuple):
        return " ".join(f"{value:g}" for value in default)
    return f"{default:g}" if isinstance(default, float) else str(default)


if __name__ == "__main__":
    raise SystemExit(main())
