"""Build sdist and wheel, see that they hold what they should and nothing else, install the wheel, and run it offline.

Run from a checkout: ``python scripts/wheel_check.py [FOLDER]``; the environment is made in FOLDER (default: a temporary
one), so that a second run is quick. Needs the package ``build``, and a network for the dependencies once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORD = "commit.txt"
BESIDE = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
"""What a wheel holds beside the package."""
NO_NETWORK = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
"""A proxy that nobody answers at: a download fails instead of hiding."""


def main() -> None:
    """Run all checks; the first that fails ends the script with its reason."""
    with tempfile.TemporaryDirectory(prefix="dlqsm-wheel-") as scratch:
        folder = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else Path(scratch)
        wheel, sdist = build(Path(scratch) / "dist")
        check_wheel(wheel)
        check_sdist(sdist)
        dlqsm = install(wheel, folder / "environment")
        check_installed(dlqsm, Path(scratch) / "run")
    print("wheel and sdist are whole, and work where they were installed")


def build(dist: Path) -> tuple[Path, Path]:
    """Build the sdist, and the wheel from it, as an index would serve them."""
    run([sys.executable, "-m", "build", "--outdir", str(dist), str(ROOT)], "build")
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    return wheel, sdist


def check_wheel(wheel: Path) -> None:
    """The wheel holds the tracked files of the package, the record of the commit, and its metadata; nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        record = archive.read(f"dlqsm/{RECORD}").decode().split()
    about = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    package = {path.removeprefix("src/") for path in tracked("src/dlqsm")} | {f"dlqsm/{RECORD}"}
    require_same("wheel", names - about, package)
    require_same("metadata of the wheel", {name.split("/", 1)[1] for name in about}, BESIDE)
    require_same("commit of the wheel", {record[0]}, {git("rev-parse", "HEAD")})
    print(f"{wheel.name}: {len(names)} files, {wheel.stat().st_size / 1e6:.1f} MB")


def check_sdist(sdist: Path) -> None:
    """The source archive holds what the build, the tests and the documentation need."""
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    parts = ("src", "tests", "examples", "benchmarks", "scripts", "packaging", "docs")
    expected = tracked(*parts) | {path for path in tracked(".") if "/" not in path}
    require_same("sdist", names, expected | {"PKG-INFO", f"src/dlqsm/{RECORD}"})
    print(f"{sdist.name}: {len(names)} files, {sdist.stat().st_size / 1e6:.1f} MB")


def install(wheel: Path, environment: Path) -> str:
    """Install the wheel into an environment of its own; return the path of its dlqsm."""
    if not (environment / "bin" / "pip").is_file():
        venv.create(environment, with_pip=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    run([*pip, "install", "--quiet", str(wheel)], "install with dependencies")
    run([*pip, "install", "--quiet", "--force-reinstall", "--no-deps", str(wheel)], "install")
    run([*pip, "check"], "pip check")
    return str(environment / "bin" / "dlqsm")


def check_installed(dlqsm: str, folder: Path) -> None:
    """The command knows its commit, and goes from raw k-space to a page without checkout, sources or network."""
    folder.mkdir()
    said = run([dlqsm, "--version"], "version", folder)
    if git("rev-parse", "--short=12", "HEAD") not in said:
        raise SystemExit(f"dlqsm --version says '{said.strip()}'; expected the commit that was built")
    simulate = ["simulate", "bids", "--participants", "1", "--arms", "DL3", "--scale", "0.5", "--coils", "4"]
    raw, common = "bids/sourcedata/sub-001/anat/sub-001_acq-DL3_MEGRE.h5", ["--threads", "1", "--quiet"]
    for words in (
        simulate,
        ["recon", raw, "recon", "--method", "joint"],
        ["recon", raw, "recon-cascade", "--method", "cascade"],
        ["qsm", "qsm", "--recon", "recon"],
        ["report", "qsm"],
    ):
        run([dlqsm, *words, *common], words[0], folder)
    require_same("what was made", {p.name for p in (folder / "qsm").glob("*.html")}, {"report.html"})
    print(said.strip())


def run(words: list[str], name: str, folder: Path | None = None) -> str:
    """Run a program outside the checkout, with nothing of it on the path; return what it prints."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    offline = NO_NETWORK if folder else {}
    start = time.perf_counter()
    done = subprocess.run(
        words, cwd=folder or tempfile.gettempdir(), env={**clean, **offline}, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise SystemExit(f"{name} failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    print(f"  {name:<28}{time.perf_counter() - start:7.1f} s", flush=True)
    return done.stdout


def tracked(*parts: str) -> set[str]:
    """Files that git tracks below parts of the checkout."""
    return set(git("ls-files", "--", *parts).splitlines())


def git(*words: str) -> str:
    """What git says of the checkout."""
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout.strip()


def require_same(what: str, found: set[str], expected: set[str]) -> None:
    """End with the names that are too many or missing."""
    more, missing = sorted(found - expected), sorted(expected - found)
    if more or missing:
        raise SystemExit(f"{what}: {len(more)} too many {more[:10]}, {len(missing)} missing {missing[:10]}")


if __name__ == "__main__":
    main()
