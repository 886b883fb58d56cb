"""Results as they can be compared bit for bit: every file but what holds times, memory, and marks of one run.

Left out, and why:

- ``logs/*.log``: lines bear the time of day, and a run that was killed has more of them;
- entries of JSON that hold seconds, times of day, memory, or the number of the run (`TIMES`);
- sizes of JSON files and pages, which hold such entries, in the records of the stages;
- in pages, the table of the seconds of each step, numbers with the unit s or MB, and times of day (`IN_PAGES`);
- marks of the system: times of modification that ``sources.json`` keeps beside the hashes.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

TIMES = {
    "seconds", "step_seconds", "wall_s", "peak_memory_mb", "started", "ended", "run", "StartedAtTime", "EndedAtTime",
    "mtime_ns", "ctime_ns", "command", "Command",
}  # fmt: skip
IN_PAGES = re.compile(
    rb"<caption>Wall time of each step.*?</table>|\d[\d,.]*(?:&nbsp;|\s|<[^>]*>)*(?:s|seconds|MB|GB|min)\b|"
    rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?Z?",
    re.DOTALL,
)
LEFT_OVER = re.compile(r"^\.partial-|^\.dlqsm-|\.lock$|\.running$|\.dlqsm-(?:new|ready)$")


def tree(root: Path) -> dict[str, str]:
    """Relative name to the hash of what is compared of a file."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file() and not path.name.endswith(".log"))
    return {str(path.relative_to(root)): hashlib.sha256(_compared(path, root)).hexdigest() for path in files}


def left_over(root: Path) -> list[str]:
    """Names that no command may leave when it has ended well."""
    return [str(path.relative_to(root)) for path in sorted(root.rglob("*")) if LEFT_OVER.search(path.name)]


def bytes_lost(root: Path, expected: dict[str, str], sizes: dict[str, int]) -> int:
    """Bytes of files that are expected, and are absent or not as they are to be."""
    found = tree(root)
    return sum(sizes[name] for name, digest in expected.items() if found.get(name) != digest)


def sizes(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): path.stat().st_size for path in root.rglob("*") if path.is_file()}


def _compared(path: Path, root: Path) -> bytes:
    # The folder of a trial is no part of its result.
    content = path.read_bytes().replace(str(root.resolve()).encode(), b"ROOT")
    if path.suffix == ".json":
        return json.dumps(_without_times(json.loads(content)), sort_keys=True).encode()
    return IN_PAGES.sub(b"TIME", content) if path.suffix == ".html" else content


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_times(entry) for key, entry in value.items() if key not in TIMES and not _is_size(key, entry)
        }
    return [_without_times(entry) for entry in value] if isinstance(value, list) else value


def _is_size(key: str, entry: Any) -> bool:
    """Whether an entry is the size of a file that holds times, by its name, as records keep it."""
    return key.endswith((".json", ".html")) and isinstance(entry, int)
