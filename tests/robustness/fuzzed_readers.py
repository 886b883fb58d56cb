"""Every reader of files: a small valid input, and how it is read. What they share is that nobody can be trusted."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from small_inputs import (
    atlas_folder,
    dataset,
    dicom,
    echo_images,
    long_table,
    raw,
    recon,
    single_step,
    twix,
    weights,
    write_text,
)

from dlqsm.agreement.long_table import check_table
from dlqsm.cli.simulate import read_protocol
from dlqsm.cohort.chain_input import read_recon
from dlqsm.config import read_cluster_config, read_qsm_config
from dlqsm.io.atlas_files import read_atlas_folder
from dlqsm.io.bids import read_dataset, read_people
from dlqsm.io.bids_filter import read_filters
from dlqsm.io.dicom_files import read_study
from dlqsm.io.images import read_echo_series
from dlqsm.io.mdi_file import read_lag_sums
from dlqsm.io.nifti import read_image
from dlqsm.io.raw import read_raw
from dlqsm.io.scan_json import read_scan
from dlqsm.io.tables import read_label_names, read_table
from dlqsm.io.twix import read_twix, write_twix
from dlqsm.reconstruction.learned.cascade import CascadeNetwork
from dlqsm.reconstruction.learned.weights import read_card, read_network

_CLUSTER = '[cluster]\ncores = 4\nmemory = "8 GB"\nwalltime = "01:00:00"\nn_jobs = 2\nprologue = ["module load x"]\n'
_CONFIG = 'reference = "csf"\n[unwrap]\nmethod = "spun"\n[inversion]\nmethod = "tkd"\nthreshold = 0.2\n'
_PROTOCOL = 'base = "small"\nshape = [32, 32, 16]\nn_coils = 4\nsnr = 60.0\ntilt_deg = [5.0, 0.0, 0.0]\n'


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader under test.

    Parameters
    ----------
    name
        What it reads.
    make
        Writes a valid input into a folder.
    file
        The file in it that is changed.
    read
        Reads the input in a folder; the second folder is for scratch.
    may_crash
        Whether a C library reads it that is not made for damaged files, so that a process of its own is wanted.
    """

    name: str
    make: Callable[[Path], Any]
    file: str
    read: Callable[[Path, Path], Any]
    may_crash: bool = field(default=False)

    @property
    def is_packed(self) -> bool:
        """Whether the file is compressed as a whole."""
        return self.file.endswith(".gz")

    def valid(self) -> tuple[dict[str, bytes], bytes]:
        """All files of a valid input, by their names, and the content of the one that is changed."""
        top = Path(tempfile.mkdtemp(prefix="dlqsm-fuzz-"))
        try:
            self.make(top)
            files = {str(p.relative_to(top)): p.read_bytes() for p in sorted(top.rglob("*")) if p.is_file()}
        finally:
            shutil.rmtree(top)
        return files, files[self.file]


def _series(folder: Path, _: Path) -> Any:
    told: dict[str, Any] = {"echo_times_s": None, "field_strength_t": None, "b0_direction": None, "phase_unit": None}
    return read_echo_series([folder / "magnitude.nii.gz"], [folder / "phase.nii.gz"], **told)


def _all_samples(folder: Path, _: Path) -> Any:
    found = read_raw(folder / "raw.h5")
    return found.readouts(0, len(found.header.lines))


def _twix(folder: Path, scratch: Path) -> Any:
    write_twix(scratch / "out.h5", read_twix(folder / "meas.dat"))
    return read_raw(scratch / "out.h5")


def _weights(folder: Path, _: Path) -> Any:
    path = folder / "weights.safetensors"
    return read_card(path), read_network(CascadeNetwork, path)


def _dataset(folder: Path, _: Path) -> Any:
    return read_dataset(folder / "bids"), read_people(folder / "bids")


def _table(folder: Path, _: Path) -> Any:
    return check_table(read_table(folder / "table.tsv", ()), "table.tsv")


def _config(folder: Path, _: Path) -> Any:
    return read_qsm_config(folder / "config.toml"), read_cluster_config(folder / "config.toml")


def _plain(folder: Path) -> None:
    """A phase image that is not compressed."""
    echo_images(folder)
    packed = folder / "phase.nii.gz"
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()


READERS: tuple[Reader, ...] = (
    Reader("nifti", _plain, "phase.nii", lambda f, _: read_image(f / "phase.nii")),
    Reader("nifti_gz", echo_images, "phase.nii.gz", _series),
    Reader("sidecar", echo_images, "phase.json", _series),
    Reader("scan_json", recon, "recon/scan.json", lambda f, _: read_recon(f / "recon")),
    Reader("scan_json_alone", recon, "recon/scan.json", lambda f, _: read_scan(f / "recon/scan.json")),
    Reader("mdi_h5", recon, "recon/mdi.h5", lambda f, _: read_lag_sums(f / "recon/mdi.h5"), may_crash=True),
    Reader("ismrmrd", raw, "raw.h5", _all_samples, may_crash=True),
    Reader("twix", twix, "meas.dat", _twix),
    Reader("dicom", dicom, "dicom/IM0050003", lambda f, scratch: read_study(f / "dicom", scratch)),
    Reader("weights", weights, "weights.safetensors", _weights),
    Reader("description", dataset, "bids/dataset_description.json", _dataset),
    Reader("participants", dataset, "bids/participants.tsv", _dataset),
    Reader("bids_filter", lambda f: write_text(f / "f.json", '{"megre": {"session": ["1"], "echo": "*", "run": null}}'),
           "f.json", lambda f, _: read_filters(f / "f.json")),
    Reader("long_table", long_table, "table.tsv", _table),
    Reader("label_names", single_step, "names.tsv", lambda f, _: read_label_names(f / "names.tsv")),
    Reader("atlas_names", atlas_folder, "atlas/small_dseg.tsv", lambda f, _: read_atlas_folder(f / "atlas")),
    Reader("atlas_labels", atlas_folder, "atlas/small_dseg.nii.gz", lambda f, _: read_atlas_folder(f / "atlas")),
    Reader("config", lambda f: write_text(f / "config.toml", _CONFIG + _CLUSTER), "config.toml", _config),
    Reader("protocol", lambda f: write_text(f / "protocol.toml", _PROTOCOL), "protocol.toml",
           lambda f, _: read_protocol(str(f / "protocol.toml")).grid),
)  # fmt: skip
