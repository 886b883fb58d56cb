"""`dlqsm completion`: bash completes what the commands take; the scripts of other shells are well-formed."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dlqsm.cli import COMMANDS, main
from dlqsm.cli.completion import SHELLS
from dlqsm.config import TABLES
from dlqsm.core.methods import options_of
from dlqsm.qsm.inversion import INVERSIONS

Refused = Callable[..., str]


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("completion")
    with pytest.MonkeyPatch.context() as patch:
        for shell in SHELLS:
            lines: list[str] = []
            patch.setattr("builtins.print", lambda text, lines=lines: lines.append(text))
            assert main(["completion", shell]) == 0
            (folder / shell).write_text("\n".join(lines))
    return {shell: folder / shell for shell in SHELLS}


def complete(script: Path, *words: str, at: Path | None = None) -> set[str]:
    """What bash offers for the last word, by the function that the script names for dlqsm."""
    code = """
        source "$1"; shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
        [[ "$(complete -p dlqsm)" =~ -F\\ ([^ ]+) ]] && "${BASH_REMATCH[1]}" dlqsm "${COMP_WORDS[COMP_CWORD]}" ""
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    call = ["bash", "--norc", "-c", code, "bash", script, "dlqsm", *words]
    done = subprocess.run(call, capture_output=True, text=True, check=True, cwd=at)
    return {word.strip() for word in done.stdout.splitlines() if word.strip()}


def test_bash_completes_commands(scripts: dict[str, Path]) -> None:
    assert complete(scripts["bash"], "") >= set(COMMANDS)
    assert complete(scripts["bash"], "qsm") == {"qsm", "qsm-ci"}
    assert complete(scripts["bash"], "--v") == {"--version"}


def test_bash_completes_options_of_a_command_and_of_all_its_methods(scripts: dict[str, Path]) -> None:
    offered = complete(scripts["bash"], "invert", "--")
    assert offered >= {"--field-strength", "--overwrite", "--threads", "--method"}
    for method in INVERSIONS.values():
        assert offered >= {f"--{name.replace('_', '-')}" for name in options_of(method)}
    assert "--threshold" not in complete(scripts["bash"], "unwrap", "--")
    assert complete(scripts["bash"], "qsm", "--inversion-th") == {"--inversion-threshold"}


def test_bash_completes_values(scripts: dict[str, Path]) -> None:
    assert complete(scripts["bash"], "qsm", "--unwrap", "") == set(TABLES["unwrap"])
    assert complete(scripts["bash"], "recon", "--method", "c") == {"cs", "cascade"}


def test_bash_completes_files(scripts: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "brain.nii.gz").touch()
    (tmp_path / "bids").mkdir()
    assert {name.rstrip("/") for name in complete(scripts["bash"], "qsm", "--mask", "b", at=tmp_path)} == {
        "brain.nii.gz",
        "bids",
    }


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_name_every_command_and_have_no_error_of_syntax(scripts: dict[str, Path], shell: str) -> None:
    text = scripts[shell].read_text()
    assert all(command in text for command in COMMANDS)
    assert "inversion-threshold" in text
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: its script is made, not read")
    done = subprocess.run([shell, "-n", scripts[shell]], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_another_shell_is_refused(refused: Refused) -> None:
    assert "'tcsh'" in refused("completion", "tcsh")
