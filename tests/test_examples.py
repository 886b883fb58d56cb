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
