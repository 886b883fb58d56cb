"""Memory that a process took, and memory that there is, within what a container grants."""

import resource
import sys
from pathlib import Path
from typing import Final

import psutil

_STATUS: Final = Path("/proc/self/status")
_GROUPS: Final = Path("/sys/fs/cgroup")
_OWN_GROUPS: Final = Path("/proc/self/cgroup")
_LIMITS: Final = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Limit and use of a control group, and what of the use can be dropped at once: of version 2 and of version 1."""


def peak_memory_mb() -> float:
    """Peak resident size of this process [MB]; where Linux tells it, without what the process before exec held."""
    if _STATUS.is_file():
        for line in _STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def free_bytes() -> int:
    """Memory [bytes] that can be had now: free on the machine, and within the limits of container and user."""
    free = int(psutil.virtual_memory().available)
    held = psutil.Process().memory_info().rss
    rooms = [limit - used for limit, used in _group_limits()]
    return max(0, min([free, *rooms, *(limit - held for limit in _user_limits())]))


def total_bytes() -> int:
    """Memory [bytes] that there is in all, within the limits of container and user."""
    installed = int(psutil.virtual_memory().total) + int(psutil.swap_memory().total)
    return min([installed, *(limit for limit, _ in _group_limits()), *_user_limits()])


def _user_limits() -> list[int]:
    """Limits of the data of one process, as ``ulimit`` sets them."""
    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return [] if soft in (resource.RLIM_INFINITY, -1) else [soft]


def _group_limits() -> list[tuple[int, int]]:
    """Limit and use [bytes] of each control group that holds this process, where it has a limit."""
    found = (_limit_of(folder) for folder in _group_folders())
    return [pair for pair in found if pair is not None]


def _group_folders() -> list[Path]:
    """Folders of the control groups of this process and of those above; inside a container its own is the root."""
    if not _OWN_GROUPS.is_file():
        return []
    folders: list[Path] = []
    for line in _OWN_GROUPS.read_text(encoding="utf-8").splitlines():
        _, controllers, place = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = _GROUPS / "memory" if controllers else _GROUPS
        own = root / place.lstrip("/")
        folders += [folder for folder in (own, *own.parents) if folder.is_relative_to(root)]
    return list(dict.fromkeys(folders))


def _limit_of(folder: Path) -> tuple[int, int] | None:
    for limit_name, use_name, droppable_name in _LIMITS:
        limit, used = _number(folder / limit_name), _number(folder / use_name)
        if limit is not None and used is not None and limit < int(psutil.virtual_memory().total):
            return limit, max(0, used - _droppable(folder / "memory.stat", droppable_name))
    return None


def _droppable(file: Path, name: str) -> int:
    """Bytes of files that were read and can be dropped: they count as used, and are free all the same."""
    if not file.is_file():
        return 0
    pairs = (line.split() for line in file.read_text(encoding="utf-8").splitlines())
    return next((int(pair[1]) for pair in pairs if pair[0] == name), 0)


def _number(file: Path) -> int | None:
    """The number that a file of a control group holds; None where there is none, as ``max``."""
    try:
        text = file.read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
