"""Rows of `reconstruction.py` in a growing TSV file: appended as they are measured, found again by what they are of."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from record import commit, machine

Row = dict[str, str]


class Rows:
    """A table on disk to which rows are appended, at once and whole.

    Parameters
    ----------
    path
        The file; made where it is absent. A last line that was cut off is dropped.
    keys
        Columns that say what a row is of; values of other columns are measured.
    measures
        Columns of what is measured.
    """

    def __init__(self, path: Path, keys: Sequence[str], measures: Sequence[str]) -> None:
        self.path, self.keys, self.measures = path, tuple(keys), tuple(measures)
        self.columns = (*keys, *measures, "commit", "machine", "threads")
        self._rows: dict[tuple[str, ...], Row] = {}
        if path.is_file():
            self._read()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\t".join(self.columns) + "\n")

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def find(self, key: dict[str, object]) -> Row | None:
        """The row of this key, if there is one."""
        return self._rows.get(self._key(key))

    def add(self, key: dict[str, object], measured: dict[str, float]) -> Row:
        """Append a row."""
        unknown = set(measured) - set(self.measures)
        if unknown:
            raise KeyError(f"{self.path.name} has no columns {sorted(unknown)}")
        about = {"commit": _commit(), "machine": machine(), "threads": torch.get_num_threads()}
        values = key | {name: told(value) for name, value in measured.items()} | about
        row = {name: str(values.get(name, "")) for name in self.columns}
        with self.path.open("a") as file:
            file.write("\t".join(row[name] for name in self.columns) + "\n")
        self._rows[self._key(row)] = row
        return row

    def _key(self, values: dict[str, object] | Row) -> tuple[str, ...]:
        return tuple(str(values.get(name, "")) for name in self.keys)

    def _read(self) -> None:
        text = self.path.read_text()
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            self.path.write_text(whole)
        header, *lines = whole.splitlines()
        if tuple(header.split("\t")) != self.columns:
            raise SystemExit(f"{self.path}: has other columns than this version writes; move the file away")
        for line in lines:
            row = dict(zip(self.columns, line.split("\t"), strict=True))
            self._rows[self._key(row)] = row


def told(value: float) -> str:
    """A number with six digits; empty where it is not one."""
    return "" if math.isnan(value) else f"{value:.6g}"


def number(row: Row, name: str) -> float:
    """A value of a row; NaN where there is none."""
    return float(row[name]) if row.get(name) else math.nan


@functools.lru_cache(maxsize=1)
def _commit() -> str:
    return commit()
