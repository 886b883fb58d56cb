"""Fixtures that all tests share."""

import os
from pathlib import Path

import pytest
import torch

# With one worker a core, more threads than one would only wait for each other.
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else min(2, torch.get_num_threads()))


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20261123)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data, named by DLQSM_SHARED_DATA; tests that need it are skipped where it is absent."""
    folder = os.environ.get("DLQSM_SHARED_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real data are absent: DLQSM_SHARED_DATA names no folder")
    return Path(folder)
