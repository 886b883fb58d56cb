"""Weights of networks in files: tensors and plain text, so that reading one never runs code."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, Self, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dlqsm.core.checks import InputError

FORMAT: Final = "dlqsm-weights 1"
_PACKAGE: Final = "dlqsm.reconstruction.learned"
_PLACES_KEPT: Final = 4


class Network(Protocol):
    """What the classes of the table `NETWORKS` have in common; each is an `nn.Module` made from its settings."""

    NAME: ClassVar[str]
    COMBINES: ClassVar[bool]
    settings: dict[str, Any]

    def __init__(self, **settings: Any) -> None: ...

    def __call__(self, *arguments: Any, **options: Any) -> torch.Tensor:
        """Images of a slab, with the signature of a reconstruction."""

    @property
    def halo_planes(self) -> int:
        """x-planes beyond a slab that its result depends on."""

    @property
    def planes_together(self) -> int:
        """Slabs begin at multiples of this many x-planes; so the halo is a multiple of it."""

    def working_bytes(self, slab_shape: tuple[int, ...], device_type: str = "cpu") -> int:
        """Memory beside samples and result for a slab ``(echo, coil, x, y, z)``, without gradients."""

    def state_dict(self) -> dict[str, torch.Tensor]: ...  # noqa: D102
    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> Any: ...  # noqa: D102
    def to(self, device: torch.device) -> Self: ...  # noqa: D102
    def eval(self) -> Self: ...  # noqa: D102
    def requires_grad_(self, requires_grad: bool) -> Self: ...  # noqa: D102


AnyNetwork = TypeVar("AnyNetwork", bound=Network)


def save_network(path: Path, network: Network, card: Mapping[str, Any]) -> None:
    """Write a network's weights, settings and card.

    Parameters
    ----------
    path
        The file, ``.safetensors``; replaced if it exists.
    network
        Of the table `NETWORKS`.
    card
        How the weights came about (data, recipe, cost, scores): plain values.
    """
    text = {"format": FORMAT, "network": network.NAME}
    text |= {"settings": json.dumps(network.settings), "card": json.dumps(dict(card))}
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    unfinished = path.with_name(f"{path.name}.part")
    save_file(tensors, unfinished, metadata=text)
    unfinished.replace(path)


def load_network(
    network_class: type[AnyNetwork], weights: str | Path | None, device: torch.device | str = "cpu"
) -> AnyNetwork:
    """Network ready to reconstruct: without gradients, and shared by all who ask for the same file and device.

    Parameters
    ----------
    network_class
        Of the table `NETWORKS`.
    weights
        File written by `save_network`; the file in the package where None.
    device
        Where the network runs.

    Raises
    ------
    InputError
        If there is no such file, or it does not hold weights of this network.
    """
    path = weights_file(network_class.NAME, weights)
    return _kept(network_class, path, path.stat().st_mtime_ns, torch.device(device))


def read_network(network_class: type[AnyNetwork], path: Path) -> AnyNetwork:
    """Network of one's own on the CPU, to be trained further; raises `InputError` as `load_network` does."""
    text = _metadata(path, network_class.NAME)
    settings = _settings(path, text)
    try:
        # No memory is taken for what the settings promise until the file is seen to keep it.
        with torch.device("meta"):
            expected = {name: tuple(value.shape) for name, value in network_class(**settings).state_dict().items()}
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(f"{path}: settings of '{network_class.NAME}' cannot be used: {error}") from None
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    _check_tensors(path, tensors, expected)
    network = network_class(**settings)
    network.load_state_dict(tensors)
    return network


def read_card(path: Path) -> dict[str, Any]:
    """How the weights in a file came about; raises `InputError` if the file does not hold weights."""
    return _parsed(path, "card", _metadata(path, None))


def is_shipped(name: str) -> bool:
    """Whether weights of a network come with the package."""
    return _shipped_file(name).is_file()


def weights_file(name: str, weights: str | Path | None) -> Path:
    """Where the weights of a network are: the file given, or that in the package.

    Raises
    ------
    InputError
        If there is no such file.
    """
    if weights is None:
        path = _shipped_file(name)
        if not path.is_file():
            raise InputError(
                f"no weights of '{name}' come with this version of dlqsm; train some with dlqsm train and give the "
                f"file as the option weights, or choose another reconstruction method"
            )
        return path
    path = Path(weights).expanduser()
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{path}: expected a file of weights for '{name}' (.safetensors), but it {what}")
    return path.resolve()


def describe_weights(name: str, weights: str | Path | None) -> dict[str, Any]:
    """What identifies weights in a record: hash of the file, settings of the network."""
    path = weights_file(name, weights)
    settings = _settings(path, _metadata(path, name))
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "settings": settings, "shipped": weights is None}


def _shipped_file(name: str) -> Path:
    return Path(str(resources.files(_PACKAGE))) / "shipped" / f"{name}.safetensors"


@functools.lru_cache(maxsize=_PLACES_KEPT)
def _kept(network_class: type[AnyNetwork], path: Path, mtime_ns: int, device: torch.device) -> AnyNetwork:
    """The network of one state of a file; the time of modification tells states apart."""
    del mtime_ns
    return read_network(network_class, path).to(device).eval().requires_grad_(False)


def _metadata(path: Path, name: str | None) -> dict[str, str]:
    """Text in the file, once its format is known and it is for the network of this name (any where None)."""
    try:
        with safe_open(path, framework="pt") as file:
            text = dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: not a safetensors file ({error}); weights are what dlqsm train writes, and PyTorch's own "
            f"files are not read because reading them can run code"
        ) from None
    found, of = text.get("format"), text.get("network")
    if found is None:
        raise InputError(f"{path}: holds tensors, but does not say that they are weights of dlqsm")
    if found != FORMAT:
        raise InputError(f"{path}: has the format '{found}', expected '{FORMAT}'; train again with this version")
    if name is not None and of != name:
        raise InputError(f"{path}: holds weights of '{of}', expected '{name}'; choose the method of that name")
    return text


def _settings(path: Path, text: Mapping[str, str]) -> dict[str, Any]:
    return _parsed(path, "settings", text)


def _parsed(path: Path, key: str, text: Mapping[str, str]) -> dict[str, Any]:
    try:
        value = json.loads(text[key])
    except (KeyError, ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InputError(f"{path}: its text '{key}' is damaged, expected a JSON object; fetch or train it again")
    return value


def _check_tensors(path: Path, tensors: Mapping[str, torch.Tensor], expected: Mapping[str, tuple[int, ...]]) -> None:
    absent, odd = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if absent or odd:
        which = f"'{absent[0]}' is absent" if absent else f"'{odd[0]}' is not part of the network"
        raise InputError(f"{path}: its tensors do not fit its settings: {which}; fetch or train the file again")
    for name, value in tensors.items():
        if tuple(value.shape) != expected[name]:
            raise InputError(f"{path}: tensor '{name}' has shape {tuple(value.shape)}, expected {expected[name]}")
        if not value.is_floating_point() or not bool(torch.isfinite(value).all()):
            raise InputError(f"{path}: tensor '{name}' holds values that are no finite numbers; expected floats")
