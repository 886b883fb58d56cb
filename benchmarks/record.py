"""Rows of a benchmark: what was measured, against what bound, on what commit and machine."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch


@dataclass
class Record:
    """Collects rows, prints each as it comes, and writes them as TSV."""

    path: Path
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self, test: str, measure: str, value: float, *, bound: tuple[float, float] | None = None, **more: Any
    ) -> None:
        """Add a row; ``bound`` is (smallest, largest) allowed, both included; None where there is no pass mark."""
        result = "" if bound is None else ("pass" if bound[0] <= value <= bound[1] else "FAIL")
        told = "" if bound is None else f"{bound[0]:g}..{bound[1]:g}"
        row = {"test": test, "measure": measure, **more, "value": value, "bound": told, "result": result}
        self.rows.append(row)
        about = " ".join(f"{key}={value}" for key, value in more.items())
        print(f"{test:<26} {measure:<34} {value:12.5g}  {told:<14} {result:<5} {about}", flush=True)
        self.write()

    def write(self) -> None:
        """Write all rows so far."""
        table = pd.DataFrame(self.rows).assign(commit=commit(), machine=machine(), threads=torch.get_num_threads())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(self.path, sep="\t", index=False, float_format="%.6g")

    @property
    def failed(self) -> int:
        """Rows outside their bound."""
        return sum(row["result"] == "FAIL" for row in self.rows)


def commit() -> str:
    """Short hash of the checkout, with a mark where files differ from it."""
    here = Path(__file__).parent
    run = lambda *words: subprocess.run(["git", *words], cwd=here, capture_output=True, text=True).stdout.strip()  # noqa: E731
    return (run("rev-parse", "--short", "HEAD") or "unknown") + ("+" if run("status", "--porcelain", "src") else "")


def machine() -> str:
    """Processor model and the cores this process may use."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    return f"{model}, {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores"


def peak_mb() -> float:
    """Peak resident size of this process [MB]; what Linux tells of the process forgets what its parent held."""
    status = Path("/proc/self/status")
    if status.is_file():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def stopwatch() -> Iterator[dict[str, float]]:
    """Wall and processor seconds of a block, in the yielded dict once it ends."""
    took: dict[str, float] = {}
    wall, cpu = time.perf_counter(), time.process_time()
    yield took
    took.update(wall_s=time.perf_counter() - wall, cpu_s=time.process_time() - cpu)
