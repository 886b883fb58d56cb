"""The examples run on the real data that they are about."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_philips_images_through_the_raw_line(
    shared_data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["x", str(shared_data / "philips_dual_echo" / "nifti")])
    runpy.run_path(str(EXAMPLES / "philips_through_raw.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    noise = float(lines[0].split()[-3])
    errors = {line.split()[2]: float(line.split()[-2]) for line in lines[1:]}
    assert 0.5 < noise < 3
    assert set(errors) == {"zero", "sense"}
    assert noise < errors["sense"] < 6


def test_pictures_of_a_real_scan_before_and_now(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLQSM_SHARED_DATA", str(shared_data))
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path), "qsm_romeo.png"])
    runpy.run_path(str(EXAMPLES / "qsm_pictures.py"), run_name="__main__")
    (told,) = capsys.readouterr().out.splitlines()
    before, now = (int(word) for word in told.replace(",", "").split() if word.isdigit())
    assert now > before > 40_000
    assert [path.name for path in tmp_path.iterdir()] == ["qsm_romeo.png"]


def test_pictures_without_data_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DLQSM_SHARED_DATA", raising=False)
    monkeypatch.setattr(sys, "argv", ["x"])
    with pytest.raises(SystemExit, match="DLQSM_SHARED_DATA names no folder"):
        runpy.run_path(str(EXAMPLES / "qsm_pictures.py"), run_name="__main__")
