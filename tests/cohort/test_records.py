"""A stage is current exactly while nothing that it was made of, and nothing that it made, has changed."""

import os
import time
from pathlib import Path

import pytest

from dlqsm.cohort import records
from dlqsm.cohort.records import CODE, Fingerprints, file_hash, is_current, key_of, read_record, write_record
from dlqsm.core.checks import InputError
from dlqsm.io.source_code import code_hash


def test_the_hash_of_a_file_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert file_hash(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_keys_follow_content_and_stage_not_order() -> None:
    assert key_of("qsm", {"a": 1, "b": 2}) == key_of("qsm", {"b": 2, "a": 1})
    assert key_of("qsm", {"a": 1}) != key_of("qsm", {"a": 2})
    assert key_of("qsm", {"a": 1}) != key_of("nuclei", {"a": 1})


def test_each_stage_knows_the_code_that_it_runs() -> None:
    hashes = {stage: code_hash(parts) for stage, parts in CODE.items()}
    assert len(set(hashes.values())) == len(hashes)


def test_a_record_is_current_while_key_and_outputs_stand(tmp_path: Path) -> None:
    output, path = tmp_path / "map", tmp_path / "logs" / "record.json"
    output.write_text("12345")
    assert not is_current(read_record(path), "k", tmp_path)
    write_record(path, "k", tmp_path, [output], 1.5, device="cpu")
    assert is_current(read_record(path), "k", tmp_path)
    assert not is_current(read_record(path), "other", tmp_path)
    output.write_text("123")
    assert not is_current(read_record(path), "k", tmp_path)
    output.unlink()
    assert not is_current(read_record(path), "k", tmp_path)


def test_files_between_the_stages_are_looked_for_where_they_lie_now(tmp_path: Path) -> None:
    """In the derivatives at first; in another folder they are not there, and are made again."""
    work, output = tmp_path / "work", tmp_path / "work" / "sub-01" / "mdi.h5"
    output.parent.mkdir(parents=True)
    output.write_text("sums")
    write_record(tmp_path / "r.json", "k", tmp_path, [output], 1.5, work=work)
    record = read_record(tmp_path / "r.json")
    assert is_current(record, "k", tmp_path, work)
    assert not is_current(record, "k", tmp_path, tmp_path / "elsewhere")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": "k"}'])
def test_a_damaged_record_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    assert read_record(tmp_path / "r.json") is None


def test_large_files_are_hashed_once_and_again_when_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, store = tmp_path / "raw.h5", tmp_path / "sources.json"
    source.write_bytes(b"one")
    prints = Fingerprints(store)
    first = prints.of(source)
    prints.note(source, "uniform", True)
    assert Fingerprints(store).remark(source, "uniform") is True
    time.sleep(0.15)  # what was written just now is hashed again, as long as a write may bear the same time
    assert Fingerprints(store).of(source) == first
    with monkeypatch.context() as patch:
        patch.setattr(records, "file_hash", lambda path: "never")
        assert Fingerprints(store).of(source) == first
        assert Fingerprints(store).remark(source, "uniform") is True
    status = source.stat()
    source.write_bytes(b"two")  # same size and, by force, the same time of modification: what git would miss
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert Fingerprints(store).of(source) != first
    assert Fingerprints(store).remark(source, "uniform") is None


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"raw\.h5: cannot be read"):
        Fingerprints(tmp_path / "s.json").of(tmp_path / "raw.h5")
