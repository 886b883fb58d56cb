"""Files of ITK that are cut off, as it leaves them on a full disk without a word."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dlqsm.core.checks import InputError
from dlqsm.core.scan import Grid
from dlqsm.nuclei.itk_whole import require_whole
from dlqsm.nuclei.registration import read_linear, read_warp, write_linear, write_warp
from dlqsm.nuclei.transforms import Linear, Warp
from dlqsm.pipeline.transform_store import kept

GRID = Grid((6, 5, 4), (1.0, 1.0, 2.0))


def warp() -> Warp:
    return Warp(torch.randn(3, *GRID.shape, generator=torch.Generator().manual_seed(0)), GRID)


@pytest.mark.parametrize("name", ["warp.nii.gz", "warp.nii", "linear.mat"])
def test_every_length_but_the_whole_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write = (
        (lambda: write_linear(path, Linear(np.eye(4)))) if name.endswith(".mat") else lambda: write_warp(path, warp())
    )
    write()
    content = path.read_bytes()
    for length in (*range(0, len(content), max(1, len(content) // 40)), len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="was not written whole, as happens on a full disk; free some space"):
            require_whole(path)
    path.write_bytes(content)
    require_whole(path)


def test_what_is_whole_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_warp(tmp_path / "w.nii.gz", warp())
    write_linear(tmp_path / "l.mat", Linear(np.diag([1.0, 2.0, 3.0, 1.0])))
    assert torch.equal(read_warp(tmp_path / "w.nii.gz").displacement_mm, warp().displacement_mm)
    assert np.allclose(read_linear(tmp_path / "l.mat").matrix, np.diag([1.0, 2.0, 3.0, 1.0]))


def test_a_stored_transform_that_was_cut_off_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier version recorded the hash of what was there: it must not be taken for whole."""
    n_made = 0

    def make() -> tuple[tuple[Warp], dict[str, int]]:
        nonlocal n_made
        n_made += 1
        return (warp(),), {}

    def cut_off(path: Path, given: Warp) -> None:
        write_warp(path, given)
        path.write_bytes(path.read_bytes()[:200])

    monkeypatch.setattr("dlqsm.pipeline.transform_store.write_warp", cut_off)
    kept(tmp_path, "x", {}, {}, make)
    monkeypatch.undo()
    for was_read in (False, True):
        (found,), _, from_disk = kept(tmp_path, "x", {}, {}, make)
        assert from_disk == was_read
        assert torch.equal(found.displacement_mm, warp().displacement_mm)
    assert n_made == 2
