"""Errors and warnings of the BIDS validator on datasets that dlqsm reads and writes.

Three datasets: the scan of a Philips scanner, converted from DICOM and run; a virtual cohort of three participants with
two sessions, raw data; and images of each coil of one of its scans, beside their real and imaginary parts. Each goes
through both stages of ``dlqsm run``. The registration is replaced by blocks in the middle of the grid: names and
sidecars are the same. Needs bids-validator-deno, and the Philips scan in ``$DLQSM_SHARED_DATA/philips_dual_echo``;
about 15 minutes on one core::

    python benchmarks/bids_validity.py FOLDER
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import torch
from record import Record

from dlqsm.cli import main as dlqsm
from dlqsm.core.scan import Grid
from dlqsm.io.bids_names import join_name
from dlqsm.io.nifti import read_image, write_volume
from dlqsm.io.outputs import write_json

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "cohort"))
from standin import put_in_place

REPORT = Path(__file__).parent / "results" / "bids_validity.tsv"
PROTOCOL = """
base = "small"
name = "coarse"
shape = [52, 52, 36]
voxel_size_mm = [4.0, 4.0, 4.0]
fine_factor = [2, 2, 2]
n_coils = 4
echo_times_s = [0.0033, 0.0064, 0.0095, 0.0126]
"""
QUICK = '[inversion]\nmethod = "tkd"\n[background]\nmethod = "vsharp"\n'
N_COILS = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=("philips", "virtual", "coils"))
    parser.add_argument("--report", type=Path, default=REPORT)
    options = parser.parse_args()
    put_in_place(setattr)
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "quick.toml").write_text(QUICK)
    record = Record(options.report)
    makers = {"philips": _philips, "virtual": _virtual, "coils": _coils}
    for name, make in makers.items():
        if options.only is None or name in options.only:
            bids = make(options.folder)
            out = _derivatives(bids, options.folder)
            for what, root in (("scans", bids), ("derivatives", out)):
                _judge(record, f"{name}, {what}", root)
    return 1 if record.failed else 0


def _philips(folder: Path) -> Path:
    """The DICOM files of a real scan as ``dlqsm convert`` makes a dataset of them."""
    bids = _fresh(folder / "philips")
    _command("convert", Path(os.environ["DLQSM_SHARED_DATA"]) / "philips_dual_echo" / "dicom_classic", bids)
    return bids


def _virtual(folder: Path) -> Path:
    """Three virtual participants whose second session is their first once more, as far as BIDS can tell."""
    plain, bids = folder / "simulated", _fresh(folder / "virtual")
    (folder / "coarse.toml").write_text(PROTOCOL)
    if not plain.is_dir():
        words = ("--participants", 3, "--seed", 3, "--protocol", folder / "coarse.toml", "--arms", "PI2", "DL3")
        _command("simulate", plain, *words)
    for path in (p for p in plain.rglob("*") if p.is_file()):
        place, label = path.relative_to(plain), path.name.partition("_")[0]
        for session in ("ses-1", "ses-2") if label.startswith("sub-") else ("",):
            parts = [part if part != label else f"{label}/{session}" for part in place.parts[:-1]]
            name = path.name.replace(label, f"{label}_{session}", 1) if session else path.name
            target = bids.joinpath(*parts, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    return bids


def _coils(folder: Path) -> Path:
    """A scan of the virtual cohort as images of three coils, and as real and imaginary parts."""
    if not (folder / "simulated").is_dir():
        _virtual(folder)
    bids, recon = _fresh(folder / "coils"), folder / "recon"
    raw = folder / "simulated" / "sourcedata" / "sub-001" / "anat" / "sub-001_acq-PI2_MEGRE.h5"
    _command("recon", raw, recon, "--overwrite")
    magnitude, phase = (read_image(recon / f"{name}.nii.gz") for name in ("magnitude", "phase"))
    images = torch.polar(torch.from_numpy(magnitude.values.copy()), torch.from_numpy(phase.values.copy()))
    x = torch.linspace(-1, 1, images.shape[0])[:, None, None, None]
    for coil in range(1, N_COILS + 1):
        of_coil = images * torch.exp(-((x - 0.5 * (coil - 2)) ** 2)) * torch.exp(torch.tensor(0.9j * coil))
        _write(bids, of_coil, ("mag", "phase"), magnitude.grid, rec="uncombined", coil=f"{coil:02d}")
    _write(bids, images, ("real", "imag"), magnitude.grid, acq="complex")
    write_json(bids / "dataset_description.json", {"Name": "Images of coils", "BIDSVersion": "1.11.0"})
    (bids / "README").write_text("Images of each receiver coil, for which BIDS has no entity.\n")
    (bids / ".bidsignore").write_text("**/*_coil-*\n")
    return bids


def _write(bids: Path, images: torch.Tensor, parts: tuple[str, str], grid: Grid, **entities: str) -> None:
    coil = entities.pop("coil", None)
    take = {"mag": torch.abs, "phase": torch.angle, "real": torch.real, "imag": torch.imag}
    for part in parts:
        for echo, time_s in enumerate((0.0033, 0.0064, 0.0095, 0.0126), start=1):
            name = join_name({"sub": "01", **entities, "echo": str(echo), "part": part}, "MEGRE")
            path = bids / "sub-01" / "anat" / (name.replace("_echo-", f"_coil-{coil}_echo-") if coil else name)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_volume(path, take[part](images[..., echo - 1]).float().contiguous(), grid)
            units = {"phase": {"Units": "rad"}}.get(part, {"Units": "arbitrary"})
            write_json(
                path.with_name(path.name.replace(".nii.gz", ".json")),
                {"EchoTime": time_s, "MagneticFieldStrength": 3.0, **units},
            )


def _derivatives(bids: Path, folder: Path) -> Path:
    out = folder / "derivatives" / bids.name / "dlqsm"
    shutil.rmtree(out, ignore_errors=True)
    how = ("--method", "zero", "--config", folder / "quick.toml", "--atlas", "virtual", "--threads", 1, "--workers", 1)
    _command("run", bids, out, "participant", *how)
    _command("run", bids, out, "group")
    return out


def _judge(record: Record, name: str, root: Path) -> None:
    """What the validator says of a dataset; errors and warnings of each code are printed."""
    beside = str(Path(sys.executable).parent)
    validator = shutil.which("bids-validator-deno", path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
    if validator is None:
        raise SystemExit("bids-validator-deno is not installed")
    told = subprocess.run([validator, "--json", str(root)], capture_output=True, text=True, check=False)
    issues = json.loads(told.stdout)["issues"]["issues"]
    found = Counter((issue["severity"], issue["code"], issue.get("subCode", "")) for issue in issues)
    for (severity, code, more), n in sorted(found.items()):
        print(f"    {severity} {code} {more}: {n}")
    n_of = Counter(issue["severity"] for issue in issues)
    record.add(name, "files", sum(p.is_file() for p in root.rglob("*")))
    record.add(name, "errors", n_of["error"], bound=(0, 0))
    record.add(name, "warnings", n_of["warning"])


def _command(*words: object) -> None:
    code = dlqsm([*map(str, words), "--quiet"])
    if code:
        raise SystemExit(f"dlqsm {words[0]} ended with {code}")


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


if __name__ == "__main__":
    sys.exit(main())
