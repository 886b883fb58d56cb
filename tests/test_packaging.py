"""Recipes and entries of containers tell what the project tells: Python, commands, licence, stages."""

import os
import re
import stat
import subprocess
import tomllib
from pathlib import Path

import dlqsm
from dlqsm.config import TABLES, QsmConfig
from dlqsm.io.qsm_ci import STAGES

ROOT = Path(__file__).parent.parent
PACKAGING = ROOT / "packaging"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _yaml(name: str) -> str:
    (value,) = re.findall(rf"^{name}: *([^#\n]*?) *(?:#.*)?$", ENTRY, flags=re.M)
    return value


ENTRY = (PACKAGING / "qsm-ci" / "algorithm.yml").read_text()


def test_the_entry_of_the_benchmark_declares_a_stage_and_its_inputs() -> None:
    assert _yaml("stage") in STAGES
    assert set(_yaml("inputs").strip("[]").split(", ")) == set(STAGES[_yaml("stage")][0])
    assert _yaml("license") == PROJECT["license"]
    table = re.findall(
        r"^\| ([\w+-]+) \| ([\w, ]+) \| (\w+) \|$", (PACKAGING / "qsm-ci" / "README.md").read_text(), re.M
    )
    told = {stage: (set(reads.split(", ")), makes) for stage, reads, makes in table if stage != "stage"}
    assert told == {stage: (set(reads), makes) for stage, (reads, makes) in STAGES.items()}


def test_its_parameters_are_methods_with_their_defaults() -> None:
    found = re.findall(r"- name: (\w+)\n  default: (\w+)\n  description: .*one of ([\w, ]+)\.", ENTRY)
    assert {name for name, *_ in found} == {"background", "inversion"}
    for name, default, choices in found:
        assert default == getattr(QsmConfig(), name).method
        assert set(choices.split(", ")) == set(TABLES[name])


def test_its_script_runs_the_stage_that_is_declared(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "dlqsm"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    path = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", PACKAGING / "qsm-ci" / "run.sh", "/in", "/out"], env=path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["qsm-ci", "/in", "/out", "--stage", _yaml("stage"), "--overwrite"]
    assert f"FROM dlqsm:{dlqsm.__version__}\n" in (PACKAGING / "qsm-ci" / "Dockerfile").read_text()
