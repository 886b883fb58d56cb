"""Well-formed files whose values make no sense: a result or a sentence, never anything else."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from fuzz_bench import Bench, within_limits
from fuzzed_readers import READERS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from malformed_nifti import FIELDS
from mutations import NUMBERS, TEXTS, VALUES
from raw_fixtures import rewrite
from small_inputs import dataset, raw, recon

from dlqsm.core.checks import InputError
from dlqsm.io.bids import read_dataset
from dlqsm.io.bids_names import is_participant
from dlqsm.io.mdi_file import read_lag_sums
from dlqsm.io.raw import read_raw
from dlqsm.io.raw_layout import HEAD

QUICK = settings(
    max_examples=25, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
SLOW = settings(QUICK, max_examples=10)
_KEYS: dict[str, tuple[str, ...]] = {
    "sidecar": ("EchoTime", "Units", "MagneticFieldStrength", "ImagingFrequency", "Manufacturer",
                "PhilipsRescaleIntercept", "ImageType"),
    "scan_json": ("echo_times_s", "field_strength_t", "b0_direction", "shape", "phase_sign"),
    "description": ("Name", "BIDSVersion", "DatasetType", "GeneratedBy"),
    "bids_filter": ("megre", "t1w", "bold"),
}  # fmt: skip
_NUMBER = r"(?<=>)([-+0-9.eE]+)(?=<)"
_READERS = {reader.name: reader for reader in READERS}


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(_READERS[request.param])
    yield made
    made.close()


@pytest.mark.parametrize("bench", _KEYS, indirect=True)
def test_json_of_any_values(bench: Bench) -> None:
    valid, keys = json.loads(bench.content), st.sampled_from(_KEYS[bench.reader.name])

    @QUICK
    @given(st.dictionaries(keys, VALUES, min_size=1, max_size=3))
    def keeps_its_promises(values: dict[str, Any]) -> None:
        bench.tried(json.dumps(valid | values).encode())

    keeps_its_promises()


@pytest.mark.parametrize("bench", ["nifti"], indirect=True)
def test_nifti_headers_of_any_values(bench: Bench) -> None:
    forms = {"dim": "h", "datatype": "h", "xyzt_units": "B", "magic": "B"}

    def at(field: str) -> st.SearchStrategy[tuple[int, bytes]]:
        form = forms.get(field, "f")
        values = {"h": st.integers(-(2**15), 2**15 - 1), "B": st.integers(0, 255), "f": st.floats(width=32)}[form]
        place = st.integers(0, 7 if field in ("dim", "pixdim") else 0)
        return st.builds(
            lambda n, v: (FIELDS[field] + n * struct.calcsize(form), struct.pack(f"<{form}", v)), place, values
        )

    @QUICK
    @given(st.lists(st.sampled_from(sorted(FIELDS)).flatmap(at), min_size=1, max_size=3))
    def keeps_its_promises(puts: list[tuple[int, bytes]]) -> None:
        content = bytearray(bench.content)
        for place, packed in puts:
            content[place : place + len(packed)] = packed
        bench.tried(bytes(content))

    keeps_its_promises()


def _refused_or_read(read: Callable[[], object]) -> None:
    with within_limits():
        try:
            read()
        except InputError as error:
            assert str(error)


def test_lag_sums_of_any_shape_and_type(tmp_path: Path) -> None:
    whole = (recon(tmp_path) / "mdi.h5").read_bytes()
    shapes = st.lists(st.integers(0, 4), max_size=5).map(tuple)

    @SLOW
    @given(
        st.sampled_from(("lags", "power", "noise_sd", "affine")), shapes, st.sampled_from(("f4", "i8", "c8", "S3", "?"))
    )
    def keeps_its_promises(name: str, shape: tuple[int, ...], kind: str) -> None:
        path = tmp_path / "mdi.h5"
        path.write_bytes(whole)
        with h5py.File(path, "r+") as file:
            del file[name]
            file.create_dataset(name, data=np.zeros(shape, kind))
        _refused_or_read(lambda: read_lag_sums(path))

    keeps_its_promises()


def test_acquisition_headers_of_any_values(tmp_path: Path) -> None:
    whole = raw(tmp_path)
    names = [name for name in HEAD.names if name != "idx"]
    counters = [f"idx/{name}" for name in HEAD["idx"].names]

    @SLOW
    @given(st.sampled_from(names + counters), st.integers(0, 2**16 - 1), st.floats(width=32), st.booleans())
    def keeps_its_promises(name: str, whole_number: int, number: float, in_all: bool) -> None:
        def change(data: np.ndarray) -> np.ndarray:
            part, _, counter = name.rpartition("/")
            fields = data["head"]["idx"][counter] if part else data["head"][name]
            rows = slice(None) if in_all else slice(len(data) // 2, len(data) // 2 + 1)
            fields[rows] = number if fields.dtype.kind == "f" else whole_number
            return data

        path = rewrite(whole, tmp_path / "changed.h5", records=change)
        _refused_or_read(lambda: read_raw(path))

    keeps_its_promises()


def test_xml_headers_of_any_numbers(tmp_path: Path) -> None:
    path = raw(tmp_path)
    with h5py.File(path, "r") as file:
        parts = re.split(_NUMBER, file["dataset/xml"][0].decode())  # every second one is a number

    @SLOW
    @given(st.integers(0, len(parts) // 2 - 1), st.one_of(NUMBERS.map(str), TEXTS))
    def keeps_its_promises(which: int, text: str) -> None:
        changed = [*parts]
        changed[2 * which + 1] = text.replace("\x00", "").replace("\x1b", "")
        with h5py.File(path, "r+") as file:
            file["dataset/xml"][0] = "".join(changed).encode()
        _refused_or_read(lambda: read_raw(path))

    keeps_its_promises()


def test_file_names_of_any_text(tmp_path: Path) -> None:
    root = dataset(tmp_path)
    labels = st.one_of(TEXTS, st.sampled_from(("01", "..", "a b", "PI2")))

    @QUICK
    @given(labels, labels, labels, st.booleans())
    def keeps_its_promises(person: str, arm: str, echo: str, is_folder: bool) -> None:
        made = root / f"sub-{person}".replace("/", "_").replace("\x00", "_")
        name = f"{made.name}_acq-{arm}_echo-{echo}_part-mag_MEGRE.nii.gz".replace("/", "_").replace("\x00", "_")
        path = made / "anat" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=True) if is_folder else path.touch()
        try:
            found = read_dataset(root)
            assert all(is_participant(p.participant) for p in found.participants)
            assert all("/" not in arm.name and ".." not in arm.name for p in found.participants for arm in p.arms)
        except InputError as error:
            assert str(error)
        finally:
            path.rmdir() if is_folder else path.unlink()
            if made.name != "sub-01":
                (made / "anat").rmdir()
                made.rmdir()

    keeps_its_promises()
