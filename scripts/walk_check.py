"""Walk through the documentation at full size as a new user: empty environment, built wheel, every block in order.

Run from a checkout: ``python scripts/walk_check.py FOLDER [PAGE ...]``. The environment is made in FOLDER, and each
page (default: the three walks) runs in a folder of its own there, its blocks in one shell, as they are printed. What is
left out is said: blocks that install (the environment stands for them), and those that need a site's own data.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from wheel_check import build, install

ROOT = Path(__file__).resolve().parent.parent
WALKS = ("docs/walk_images.md", "docs/walk_raw.md", "docs/walk_study.md")
LEFT_OUT = ("it installs", "needs the files of a scanner", "needs the fully sampled raw data")
_BLOCK = re.compile(r"(?P<notes>(?:^<!-- [^\n]* -->\n)*)^```(?P<language>bash|python)\n(?P<text>.*?)^```$", re.S | re.M)
_MARK = "=== block of line "


@dataclass(frozen=True)
class Block:
    """A block of a page, and why it is left out, if it is."""

    line: int
    language: str
    text: str
    left_out: str | None


def main() -> None:
    """Build, install, and walk every page; end with 1 at the first block that fails."""
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    folder = Path(sys.argv[1]).resolve()
    wheel, _ = build(folder / "dist")
    programs = Path(install(wheel, folder / "environment")).parent
    for page in sys.argv[2:] or WALKS:
        walk(ROOT / page, folder / Path(page).stem, programs)


def walk(page: Path, folder: Path, programs: Path) -> None:
    """Run the blocks of one page in an empty folder, in one shell, and say the seconds of each."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    blocks = blocks_of(page)
    print(f"{page.name}: {len(blocks)} blocks", flush=True)
    script = folder.with_suffix(".sh")
    script.write_text("set -e\n" + "".join(shell_of(block) for block in blocks))
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "DLQSM", "VIRTUAL_ENV"))}
    clean["PATH"] = f"{programs}{os.pathsep}{clean['PATH']}"
    with subprocess.Popen(
        ["bash", str(script)], cwd=folder, env=clean, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as shell:
        last = follow(shell, folder.with_suffix(".log"))
    if shell.returncode != 0:
        raise SystemExit(f"{page.name}: the block of line {last} ended with {shell.returncode}; see {folder}.log")


def follow(shell: subprocess.Popen[str], log: Path) -> str:
    """Write what the shell prints to a log, and print the seconds of each block; return the line of the last."""
    line, start = "", time.perf_counter()
    with log.open("w") as file:
        for text in shell.stdout or ():
            file.write(text)
            file.flush()
            if text.startswith(_MARK):
                told(line, start)
                line, start = text.removeprefix(_MARK).strip(), time.perf_counter()
    told(line, start)
    return line


def told(line: str, start: float) -> None:
    """Print how long the block that has ended took."""
    if line:
        print(f"  line {line:<60}{time.perf_counter() - start:8.1f} s", flush=True)


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page in their order."""
    text = page.read_text()
    return [
        Block(
            text.count("\n", 0, match.start("text")),
            match["language"],
            match["text"],
            next((reason for reason in LEFT_OUT if f"not run: {reason}" in match["notes"]), None),
        )
        for match in _BLOCK.finditer(text)
    ]


def shell_of(block: Block) -> str:
    """A block as lines of shell, with a mark before it."""
    if block.left_out:
        return f"echo '{_MARK}{block.line}, left out: {block.left_out}'\n"
    mark = f"echo '{_MARK}{block.line}'\n"
    if block.language == "python":
        return f"{mark}python - <<'END_OF_BLOCK'\n{block.text}END_OF_BLOCK\n"
    return mark + block.text


if __name__ == "__main__":
    main()
