"""What threads, repeats and devices do to each step, and what changes of a scene do to the whole line.

    python benchmarks/numerics.py [--parts threads relations] [--coarse] [--skip cascade joint] [--out FILE]

The scene is that of tests/metamorphic: spheres and a rod in a small brain, air beside it, three coils. Rows of
``threads`` compare each method of each step on one and on two threads, in single precision, on a matrix that is large
enough for threads to share its sums (``--coarse``: on the one of the tests), and tell whether a repeated run gives the
same bits; on a machine with a CUDA device they compare it too. Rows of ``relations`` tell how far each change moves chi
from where it must be, by chain, in double precision, against the bound of the tests. Takes some minutes of one
core.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from record import Record

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "metamorphic"))

import line_relations  # noqa: E402
import numeric_steps  # noqa: E402

PARTS = ("threads", "relations")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--coarse", action="store_true", help="the small matrix of the tests for the part threads")
    parser.add_argument("--skip", nargs="+", default=(), help="methods that the part threads leaves out")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "numerics.tsv")
    arguments = parser.parse_args()
    record = Record(arguments.out)
    if "threads" in arguments.parts:
        for key in numeric_steps.STEPS:
            if key[1] not in arguments.skip:
                threads_of(record, key, fine=not arguments.coarse)
    if "relations" in arguments.parts:
        relations(record)
    return int(record.failed > 0)


def threads_of(record: Record, key: tuple[str, str], *, fine: bool) -> None:
    """Rows of one method: a repeat on two threads, one thread against two, CPU against CUDA."""
    problem, about = numeric_steps.problem(fine), {"method": key[1]}
    one, two, again = (numeric_steps.run(key, problem, n) for n in (1, 2, 2))
    bound = numeric_steps.THREAD_BOUNDS.get(key, numeric_steps.SAME)
    record.add(key[0], "repeated, 1 for the same bits", float(torch.equal(two, again)), bound=(1.0, 1.0), **about)
    change = numeric_steps.relative(one, two)
    record.add(key[0], "1 against 2 threads, relative", change, bound=(0.0, bound), **about)
    if not torch.cuda.is_available():
        return
    elsewhere = numeric_steps.run(key, numeric_steps.on_device(problem, "cuda"), 1)
    bound = numeric_steps.CUDA_BOUNDS.get(key, numeric_steps.CUDA_ROUNDING)
    change = numeric_steps.relative(one, elsewhere)
    record.add(key[0], "CPU against CUDA, relative", change, bound=(0.0, bound), **about)


def relations(record: Record) -> None:
    """Rows of each relation: the change of chi that it must not make, by chain."""
    few = [line_relations.TURNS[name] for name in line_relations.FEW_TURNS]
    told = [*line_relations.SIGNAL.values(), *line_relations.PLACE.values(), *few]
    for chain in line_relations.CHAINS:
        for relation in told:
            bound = line_relations.bound_of(chain, relation.name)
            value = line_relations.measured(relation, chain).relative
            record.add(relation.name, "change of chi, relative", value, bound=(0.0, bound), method=chain)
        others = [(line_relations.SIZE, line_relations.doubled_in_size)]
        others += [(line_relations.GIVEN, line_relations.strength_given_again)] * (chain in line_relations.CHOOSING)
        for name, measure in others:
            bound = line_relations.bound_of(chain, name)
            record.add(name, "change of chi, relative", measure(chain).relative, bound=(0.0, bound), method=chain)


if __name__ == "__main__":
    raise SystemExit(main())
