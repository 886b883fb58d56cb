"""The README tells the truth: its Python block runs, its commands and methods exist."""

import re
from pathlib import Path
from typing import Any

import pytest

from dlqsm.acquisition.sampling import SAMPLINGS
from dlqsm.cli import COMMANDS
from dlqsm.config import STEPS, TABLES, QsmConfig

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_python_block_is_twenty_lines_and_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    assert len([line for line in block.splitlines() if line.strip()]) <= 20
    made: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), made)
    said = capsys.readouterr().out
    assert "GPe" in said
    assert "rmse_ppb" in said
    # The brain mask holds 99.9 % of the voxels of the nuclei, and 99.5 % are left without its rim.
    nuclei, maps = made["scan"].truth.labels > 0, made["maps"]
    assert (nuclei & ~maps.mask).sum() < 0.001 * nuclei.sum()
    assert (nuclei & ~maps.eroded_mask).sum() < 0.005 * nuclei.sum()


def test_commands_exist() -> None:
    for command in re.findall(r"^dlqsm (\w+) \S*[./]", README, flags=re.M):
        assert command in COMMANDS


@pytest.mark.parametrize("step", [*STEPS, "reconstruction"])
def test_the_table_of_methods_is_complete_and_tells_the_default(step: str) -> None:
    (row,) = re.findall(rf"^\| {'unwrapping' if step == 'unwrap' else step} \| ([^|]*) \|", README, flags=re.M)
    named = re.findall(r"`(\w+)`", row)
    assert set(named) == set(TABLES[step])
    if step in STEPS:
        assert named[0] == getattr(QsmConfig(), step).method


def test_samplings_are_named() -> None:
    (row,) = re.findall(r"^\| sampling \| ([^|]*) \|", README, flags=re.M)
    assert set(re.findall(r"`(\w+)`", row)) == set(SAMPLINGS)
