"""HDF5 files on a disk that refuses: a sentence at any byte, and a process that lives on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="the system has no limit of the size of files")

WRITE = """
import resource, signal, sys
from pathlib import Path
import numpy as np, torch
from dlqsm.core.checks import InputError
from dlqsm.core.lags import LagSums
from dlqsm.core.scan import Grid
from dlqsm.io.hdf5 import written_hdf5
from dlqsm.io.mdi_file import write_lag_sums

import h5py

def sums(path):
    lags, power = torch.ones(2, 20, 20, 20, dtype=torch.complex64), torch.ones(3, 20, 20, 20)
    write_lag_sums(path, LagSums(lags, power, None, 4), Grid((20, 20, 20), (1.0, 1.0, 1.0)))

def records(path):
    kind = np.dtype([("head", "<i4", 20), ("data", h5py.special_dtype(vlen=np.float32))])
    block = np.empty(32, kind)
    for record in block:
        record["data"] = np.ones(1000, np.float32)
    with written_hdf5(path) as (file, require_written):
        data = file.create_dataset("data", (320,), kind, maxshape=(None,), chunks=(32,))
        for first in range(0, 320, 32):
            data[first : first + 32] = block
            require_written()

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder, hard, n_refused = Path(sys.argv[1]), resource.getrlimit(resource.RLIMIT_FSIZE)[1], 0
for write in (sums, records):
    path = folder / f"{write.__name__}.h5"
    write(path)
    whole = path.read_bytes()
    for limit in [1, 2, 100, 2048, 4096, *np.linspace(5000, len(whole) - 1, 40).astype(int).tolist()]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            write(path)
        except InputError as error:
            assert "cannot be written (a limit of the disk" in str(error), error
            n_refused += 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert path.read_bytes() == whole and list(folder.glob(".partial*")) == []
    with h5py.File(path) as file:
        assert len(file)
print(n_refused, "refused")
"""


def test_no_byte_at_which_the_disk_refuses_brings_the_process_down(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", WRITE, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert done.stdout == "90 refused\n"
