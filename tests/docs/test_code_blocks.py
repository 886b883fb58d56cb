"""Every block of code in the documentation runs, or says why not and then at least names options that exist."""

import importlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doc_pages import PAGES, ROOT, name_of
from fenced_blocks import Block, all_blocks, blocks_of, lines_of, parsed, words_of

from dlqsm.cli import main
from dlqsm.config import TABLES, read_cluster_config, read_qsm_config

LANGUAGES = ("python", "bash", "toml", "json", "text")
COARSE = """
base = "small"
name = "coarse"
shape = [52, 52, 36]
voxel_size_mm = [4.0, 4.0, 4.0]
fine_factor = [2, 2, 2]
n_coils = 4
echo_times_s = [0.0033, 0.0064, 0.0095, 0.0126]
"""
QUICK = '[inversion]\nmethod = "tkd"\n[background]\nmethod = "vsharp"\n'
RUN = [
    page
    for page in PAGES
    if any(b.language in ("bash", "python") and not (b.not_run or b.executed_by) for b in blocks_of(page))
]
_HEADS: dict[str, Path] = {}
"""Virtual datasets that a page has made: another page that makes the same one gets a copy."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in, but for what makes blocks small; tables of methods are as before afterwards."""
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "cohort"))
    importlib.import_module("standin").put_in_place(monkeypatch.setattr)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "coarse.toml").write_text(COARSE)
    (tmp_path / "quick.toml").write_text(QUICK)
    tables = {step: dict(table) for step, table in TABLES.items()}
    yield tmp_path
    for step, table in TABLES.items():
        table.clear()
        table.update(tables[step])


def _run_dlqsm(words: list[str], folder: Path) -> int:
    """Run a command in this process, which has loaded everything already."""
    if words[0] == "simulate":
        out = words.pop(1)
        made = _HEADS.get(" ".join(words))
        if made is not None:
            return subprocess.run(["cp", "-r", str(made), str(folder / out)], check=True).returncode
        _HEADS[" ".join(words)] = folder / out
        words.insert(1, out)
    expanded = [w for word in words for w in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]
    threads = [] if {"-h", "--help", "--threads"} & set(words) else ["--threads", "1"]
    return main([*expanded, *threads])


def _run_shell(block: Block, folder: Path, variables: dict[str, str]) -> None:
    for line in lines_of(block.small()):
        assignment = re.fullmatch(r"(\w+)=(\S+)", line)
        if assignment:
            variables[assignment[1]] = assignment[2]
            continue
        words = words_of(line, variables)
        if words[0] == "dlqsm":
            assert _run_dlqsm(words[1:], folder) == 0, f"{block.place}: {line}"
        else:
            done = subprocess.run(["bash", "-c", line], cwd=folder, env={**os.environ, **variables}, check=False)
            assert done.returncode == 0, f"{block.place}: {line}"


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_the_blocks_of_a_page_run_in_their_order(page: Path, folder: Path) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    variables: dict[str, str] = {}
    for block in blocks_of(page):
        if block.not_run or block.executed_by:
            continue
        if block.language == "python":
            exec(compile("\n" * block.line + block.small(), block.page, "exec"), names)
        elif block.language == "bash":
            _run_shell(block, folder, variables)


@pytest.mark.parametrize("block", [b for b in all_blocks() if b.language == "bash"], ids=lambda b: b.place)
def test_every_command_line_has_options_that_exist(block: Block) -> None:
    for line in lines_of(block.text):
        words = words_of(line)
        if words[0] == "dlqsm" and "--help" not in words:
            parsed(words[1:])


@pytest.mark.parametrize("block", [b for b in all_blocks() if b.language == "toml"], ids=lambda b: b.place)
def test_a_configuration_is_read(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(block.text)
    read_qsm_config(path)
    if "[cluster]" in block.text:
        read_cluster_config(path)


@pytest.mark.parametrize("block", all_blocks(), ids=lambda b: b.place)
def test_a_block_says_what_it_is(block: Block) -> None:
    assert block.language in LANGUAGES
    assert block.not_run is None or len(block.not_run) > 8
    assert block.executed_by is None or (ROOT / block.executed_by).is_file()


def test_what_does_not_exist_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(words_of("qsm out --recon in --strengt 3"))
    with pytest.raises(AssertionError, match="there is no command"):
        parsed(["quantify", "x"])
    assert "--strengt" in capsys.readouterr().err
    text = "a  # b\n\nc \\\n  d\n# e\n"
    assert lines_of(text) == ["a", "c    d"]
