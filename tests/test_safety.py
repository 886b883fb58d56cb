"""What is read is never run: no pickle, no evaluated text, no shell, nothing unpacked out of its folder."""

import ast
import gzip
import io
import os
import pickle
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

import dlqsm
from canaries import word_of
from dlqsm.cli import main
from dlqsm.core.checks import InputError
from dlqsm.io import dicom_files
from dlqsm.io.coil_maps import read_coil_maps
from dlqsm.reconstruction.learned import NETWORKS
from dlqsm.reconstruction.learned.weights import load_network
from dlqsm.reconstruction.training import checkpoints
from made_dicom import MadeSeries, both, write_classic

PACKAGE = Path(dlqsm.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
REFUSED_IMPORTS = {
    "pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml", "jsonpickle",
}  # fmt: skip
ONLY_AN_ERRORS_NAME = {"pickle": "reconstruction/training/checkpoints.py"}
REFUSED_CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pd.read_pickle", "pandas.read_pickle",
    "torch.jit.load", "torch.hub.load", "subprocess.getoutput", "subprocess.getstatusoutput", "tarfile.open",
    "shutil.unpack_archive", "runpy.run_path",
}  # fmt: skip
NETWORK = {
    "urllib", "urllib3", "requests", "http", "httpx", "aiohttp", "ftplib", "smtplib", "pooch", "templateflow",
    "nilearn.datasets", "torch.hub", "huggingface_hub",
}  # fmt: skip
"""Modules that reach other machines; Dask's are those that the user names."""
ATLAS = "io/cit168.py"
RUN = {"subprocess.run", "subprocess.Popen", "subprocess.call", "subprocess.check_output", "subprocess.check_call"}


def refused(text: str, place: str) -> list[str]:
    """What a module does that none may: unpickle, evaluate, use a shell, or reach the network."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [f"{place} imports {name}" for name in names if not _may_import(name, place)]
        if isinstance(node, ast.Call):
            found += [f"{place}, line {node.lineno}: {reason}" for reason in _reasons(node)]
    return found


def _may_import(name: str, place: str) -> bool:
    base = name.partition(".")[0]
    if base in REFUSED_IMPORTS:
        return ONLY_AN_ERRORS_NAME.get(base) == place
    return place == ATLAS or not {base, name} & NETWORK


def _reasons(call: ast.Call) -> list[str]:
    name = ast.unparse(call.func)
    words = {word.arg: ast.unparse(word.value) for word in call.keywords if word.arg}
    is_load = name in ("np.load", "numpy.load")
    checks = {
        f"calls {name}": name in REFUSED_CALLS or name.startswith("pickle."),
        "torch.load without weights_only=True": name == "torch.load" and words.get("weights_only") != "True",
        "np.load without allow_pickle=False": is_load and words.get("allow_pickle") != "False",
        # shtab's argument is the name of the shell whose completions it writes.
        f"{name} with shell=": "shell" in words and name != "shtab.complete",
        f"{name} of no list": name in RUN and not (call.args and isinstance(call.args[0], ast.List | ast.Name)),
    }
    return [reason for reason, is_so in checks.items() if is_so]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_module_unpickles_evaluates_uses_a_shell_or_reaches_out(path: Path) -> None:
    assert refused(path.read_text(), path.relative_to(PACKAGE).as_posix()) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle", "from joblib import load", "import yaml", "import requests", "from urllib.request import get",
        "eval('1')", "exec('1')", "torch.load('x')", "torch.load('x', weights_only=False)", "np.load('x')",
        "np.load('x', allow_pickle=True)", "pd.read_pickle('x')", "os.system('ls')", "subprocess.run('ls')",
        "subprocess.run(['ls'], shell=True)", "shutil.unpack_archive('x')",
    ],
)  # fmt: skip
def test_the_scan_finds_what_it_looks_for(text: str) -> None:
    assert len(refused(text, "io/planted.py")) == 1


class Trap:
    """Writes a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def _npy(path: Path, mark: Path) -> None:
    np.save(path, np.array([Trap(mark)], dtype=object), allow_pickle=True)


def _torch(path: Path, mark: Path) -> None:
    torch.save({"weights": Trap(mark), "step": 1}, path)


def _plain(path: Path, mark: Path) -> None:
    path.write_bytes(pickle.dumps(Trap(mark), protocol=2))  # that of torch, which warns of others


@contextmanager
def not_sprung(mark: Path) -> Iterator[None]:
    yield
    assert not mark.exists(), "what was read was run"


@pytest.mark.parametrize("write", [_plain, _torch], ids=["pickle", "torch"])
def test_weights_that_are_a_pickle_are_refused(write: Callable[[Path, Path], None], tmp_path: Path) -> None:
    path, mark = tmp_path / "weights.safetensors", tmp_path / "sprung"
    write(path, mark)
    for network in NETWORKS.values():
        with not_sprung(mark), pytest.raises(InputError, match=r"weights\.safetensors"):
            load_network(network, path)


@pytest.mark.parametrize("write", [_plain, _torch], ids=["pickle", "torch"])
def test_a_checkpoint_that_is_a_trap_is_refused(write: Callable[[Path, Path], None], tmp_path: Path) -> None:
    path, mark = tmp_path / "checkpoint.pt", tmp_path / "sprung"
    write(path, mark)
    with not_sprung(mark), pytest.raises(InputError, match=r"checkpoint\.pt"):
        checkpoints._read(path, torch.device("cpu"))


@pytest.mark.parametrize("write", [_plain, _npy], ids=["pickle", "npy"])
def test_coil_maps_that_are_a_trap_are_refused(write: Callable[[Path, Path], None], tmp_path: Path) -> None:
    path, mark = tmp_path / "maps.npy", tmp_path / "sprung"
    write(path, mark)
    with not_sprung(mark), pytest.raises(InputError, match=r"maps\.npy"):
        read_coil_maps(path)


@pytest.mark.parametrize("name", ["chi.nii.gz", "chi.json", "raw.h5", "table.tsv", "quick.toml"])
def test_a_pickle_under_any_other_name_is_refused(name: str, tmp_path: Path) -> None:
    path, mark = tmp_path / name, tmp_path / "sprung"
    _plain(path, mark)
    words = {
        "chi.nii.gz": ["compare", path, path, "--json", tmp_path / "out.json"],
        "chi.json": ["qsm", tmp_path / "out", "--recon", tmp_path, "--scan", path],
        "raw.h5": ["recon", path, tmp_path / "out"],
        "table.tsv": ["agree", path, tmp_path / "out", "--reference", "A"],
        "quick.toml": ["qsm", tmp_path / "out", "--recon", tmp_path, "--config", path],
    }[name]
    with not_sprung(mark):
        assert main([*map(str, words), "--quiet"]) == 2


class TestArchives:
    """`dlqsm convert` unpacks under names of its own, no more than there is reason for, and nothing elsewhere."""

    @pytest.fixture
    def images(self, tmp_path: Path) -> list[Path]:
        return write_classic(tmp_path / "made", MadeSeries(parts=both()))

    @pytest.mark.parametrize(
        "name",
        ["../out.dcm", "/etc/out.dcm", "a/../../out.dcm", "C:\\out.dcm", "..\\out.dcm", "\\\\host\\share\\out.dcm"],
    )
    def test_paths_that_leave_it_are_refused(self, name: str, images: list[Path], tmp_path: Path, capsys) -> None:
        with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
            archive.writestr(name, images[0].read_bytes())
        assert main(["convert", str(tmp_path / "in.zip"), str(tmp_path / "bids"), "--quiet"]) == 2
        assert "leaves it" in capsys.readouterr().err
        assert not (tmp_path / "bids").exists()
        assert not list(tmp_path.rglob("out.dcm"))

    def test_a_link_is_a_file_of_text(self, images: list[Path], tmp_path: Path) -> None:
        """A symbolic link in an archive is not made: what it points at is neither read nor written."""
        secret = tmp_path / "secret.txt"
        secret.write_text(word_of("secret"))
        with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
            link = zipfile.ZipInfo("link.dcm")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, str(secret))
            for path in images:
                archive.write(path, path.name)
        assert main(["convert", str(tmp_path / "in.zip"), str(tmp_path / "bids"), "--quiet"]) == 0
        assert not [p for p in (tmp_path / "bids").rglob("*") if p.is_symlink()]
        assert secret.read_text() == word_of("secret")

    def test_a_zip_that_says_it_is_a_bomb_is_refused(self, tmp_path: Path, monkeypatch, capsys) -> None:
        monkeypatch.setattr(dicom_files, "_ALWAYS_ALLOWED", 2**20)
        with zipfile.ZipFile(tmp_path / "in.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("zeros.dcm", bytes(8 * 2**20))
        assert main(["convert", str(tmp_path / "in.zip"), str(tmp_path / "bids"), "--quiet"]) == 2
        assert "as no images do" in capsys.readouterr().err

    def test_a_zip_that_hides_its_size_is_refused(self, tmp_path: Path, monkeypatch, capsys) -> None:
        """The directory of the archive says 10 bytes; no more than these are unpacked."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("zeros.dcm", bytes(4 * 2**20))
        content = bytearray(buffer.getvalue())
        place = content.rindex(b"PK\x01\x02")
        struct.pack_into("<I", content, place + 24, 10)
        (tmp_path / "in.zip").write_bytes(content)
        assert main(["convert", str(tmp_path / "in.zip"), str(tmp_path / "bids"), "--quiet"]) == 2
        assert "expected a zip file" in capsys.readouterr().err

    def test_a_gzip_bomb_is_stopped_while_it_grows(self, tmp_path: Path, monkeypatch, capsys) -> None:
        monkeypatch.setattr(dicom_files, "_ALWAYS_ALLOWED", 2**21)
        unpacked: list[int] = []
        real = dicom_files._unpack

        def seen(file, packed, target, limit):
            try:
                real(file, packed, target, limit)
            finally:
                unpacked.append(target.stat().st_size)

        monkeypatch.setattr(dicom_files, "_unpack", seen)
        (tmp_path / "in.gz").write_bytes(gzip.compress(bytes(2**25)))
        assert main(["convert", str(tmp_path / "in.gz"), str(tmp_path / "bids"), "--quiet"]) == 2
        assert "as no images do" in capsys.readouterr().err
        assert unpacked[0] <= 2**23

    def test_other_archives_are_no_images(self, tmp_path: Path, capsys) -> None:
        with tarfile.open(tmp_path / "in.tar", "w") as archive:
            archive.addfile(tarfile.TarInfo("../out.dcm"))
        assert main(["convert", str(tmp_path / "in.tar"), str(tmp_path / "bids"), "--quiet"]) == 2
        assert "none of its 1 files is one" in capsys.readouterr().err


class TestPrograms:
    def test_names_of_files_do_not_reach_the_command_line_of_dcm2niix(self, tmp_path: Path, monkeypatch) -> None:
        """Files called like options, commands or paths are converted like any other; a shell sees none of them."""
        made = write_classic(tmp_path / "made", MadeSeries(parts=both()))
        folder = tmp_path / "in" / "-o x; touch sprung $(touch sprung) `touch sprung`"
        folder.mkdir(parents=True)
        for number, path in enumerate(made):
            path.rename(folder / f"--help '{number}' && touch sprung.dcm")
        monkeypatch.chdir(tmp_path)
        seen: list[list[str]] = []
        real = subprocess.run

        def run(words, **keywords):
            seen.append(list(words))
            assert not keywords.get("shell")
            return real(words, **keywords)

        monkeypatch.setattr("dlqsm.io.dicom_volumes._run.__defaults__", (run,))
        assert main(["convert", "in", "bids", "--quiet"]) == 0
        ((program, *words),) = seen
        assert Path(program).name.startswith("dcm2niix")
        assert Path(words[-1]).is_absolute() and Path(words[words.index("-o") + 1]).is_absolute()
        assert not [word for word in words if "touch" in word]
        assert not list(tmp_path.rglob("sprung*.*")) and not list(tmp_path.glob("sprung*"))
