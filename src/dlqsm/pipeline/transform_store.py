"""Transforms kept on disk: written when made, read again when made from the same input in the same way."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch

import dlqsm
from dlqsm.core.checks import InputError
from dlqsm.core.scan import Grid
from dlqsm.io.outputs import read_json, whole_file, write_json
from dlqsm.io.source_code import code_hash
from dlqsm.nuclei.registration import ANTS_VERSION, read_linear, read_warp, write_linear, write_warp
from dlqsm.nuclei.transforms import Chain, Linear

CODE: Final = (
    "core",
    "nuclei/itk_whole.py",
    "nuclei/placement.py",
    "nuclei/registration.py",
    "nuclei/transforms.py",
    "pipeline/alignment.py",
)
"""Parts of the package that make transforms: those of other code are made anew."""
Made = tuple[Chain, dict[str, Any]]


def fingerprint(volume: torch.Tensor, grid: Grid) -> str:
    """SHA-256 of a volume's values and its geometry."""
    digest = hashlib.sha256(volume.detach().cpu().contiguous().numpy().tobytes())
    digest.update(f"{volume.dtype} {grid}".encode())
    return digest.hexdigest()


def kept(
    folder: Path | None, name: str, inputs: Mapping[str, str], parameters: Mapping[str, Any], make: Callable[[], Made]
) -> tuple[Chain, dict[str, Any], bool]:
    """Read the transform of this name, or make and keep it.

    Parameters
    ----------
    folder
        Where transforms are kept; None keeps nothing.
    name
        Stem of the files, such as ``from-PI2_to-virtual_xfm``. Parts of a chain are ITK files with their number behind
        it, in the order in which a point goes through them; the JSON beside them tells the rest.
    inputs, parameters
        What the transform depends on: hashes of the images, settings. Another value means making it anew.
    make
        Makes the chain and its account.

    Returns
    -------
    The chain, its account, and whether it was read from disk.
    """
    if folder is None:
        return (*make(), False)
    software = {"dlqsm": dlqsm.__version__, "code": code_hash(CODE), "antspyx": ANTS_VERSION}
    wanted = {"inputs": dict(inputs), "parameters": _plain(parameters), "software": software}
    found = _read(folder, name, wanted)
    if found is not None:
        return (*found, True)
    chain, account = make()
    _write(folder, name, chain, {**wanted, "account": account})
    return chain, account, False


def forget(folder: Path) -> None:
    """Remove all transforms that are kept in a folder, and nothing else."""
    for path in folder.glob("from-*_xfm*"):
        path.unlink()


def _read(folder: Path, name: str, wanted: Mapping[str, Any]) -> Made | None:
    try:
        told: dict[str, Any] = read_json(folder / f"{name}.json")
    except InputError:
        return None
    if any(told.get(key) != value for key, value in wanted.items()):
        return None
    files = {folder / file: digest for file, digest in told["files"].items()}
    if any(not file.is_file() or _hash_of(file) != digest for file, digest in files.items()):
        return None
    try:
        chain = tuple(read_linear(file) if file.suffix == ".mat" else read_warp(file) for file in files)
    except InputError:  # cut off on a full disk, which earlier versions did not see
        return None
    return chain, told["account"]


def _write(folder: Path, name: str, chain: Chain, told: dict[str, Any]) -> None:
    """Transforms first, the JSON last: its presence says that they are whole."""
    (folder / f"{name}.json").unlink(missing_ok=True)
    files = {}
    for index, transform in enumerate(chain):
        linear = isinstance(transform, Linear)
        path = folder / f"{name}_{index}.{'mat' if linear else 'nii.gz'}"
        with whole_file(path) as partial:
            if isinstance(transform, Linear):
                write_linear(partial, transform)
            else:
                write_warp(partial, transform)
        files[path.name] = _hash_of(path)
    write_json(folder / f"{name}.json", {**told, "files": files})


def _hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value if isinstance(value, int | float | str) else repr(value) for key, value in parameters.items()}
