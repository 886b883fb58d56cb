"""The wording of errors about input, in one place."""

from collections.abc import Iterable, Sequence

import torch


class InputError(ValueError):
    """Input or arguments that cannot be used; its text is the one sentence the user reads (exit code 2)."""


class ConvergenceWarning(UserWarning):
    """A solver stopped before it reached its tolerance; the text names residual and remedy."""


def require_shape(name: str, value: torch.Tensor, expected: Sequence[int], whose: str) -> None:
    """Raise `InputError` unless ``value`` has the expected shape; ``whose`` says where that shape comes from."""
    if tuple(value.shape) != tuple(expected):
        raise InputError(f"{name} has shape {tuple(value.shape)}; expected {tuple(expected)}, the shape of {whose}")


def require_positive(name: str, values: Iterable[float], unit: str) -> None:
    """Raise `InputError` unless all values are finite and above zero."""
    for value in values:
        if not (value > 0 and value < float("inf")):
            raise InputError(f"{name} must be above zero in {unit}; got {value}")


def require_not_negative(name: str, values: Iterable[float]) -> None:
    """Raise `InputError` unless all values are finite and zero or more."""
    for value in values:
        if not 0 <= value < float("inf"):
            raise InputError(f"{name} must be zero or more; got {value}")


def require_share(name: str, value: float) -> None:
    """Raise `InputError` unless ``value`` lies between 0 and 1, ends included."""
    if not 0 <= value <= 1:
        raise InputError(f"{name} must lie between 0 and 1; got {value}")


def require_stop(tolerance: float, n_steps: int, steps: str = "max_iterations") -> None:
    """Raise `InputError` unless a solver can stop: at a tolerance of zero or more, after one of ``steps`` or more."""
    require_not_negative("tolerance", [tolerance])
    if n_steps < 1:
        raise InputError(f"{steps} must be one or more; got {n_steps}")


def require_direction(name: str, values: Sequence[float]) -> None:
    """Raise `InputError` if a vector has no direction: is zero, or not finite."""
    if not (all(abs(value) < float("inf") for value in values) and any(values)):
        raise InputError(f"{name} must be three finite numbers, not all zero; got {tuple(values)}")


def require_mask(mask: torch.Tensor, shape: Sequence[int]) -> None:
    """Raise `InputError` unless ``mask`` is boolean, of the expected shape and not empty."""
    if mask.dtype != torch.bool:
        raise InputError(f"mask has dtype {mask.dtype}; expected torch.bool")
    require_shape("mask", mask, shape, "scan.grid")
    if not bool(mask.any()):
        raise InputError("mask is empty; expected at least one voxel inside")


def require_finite(name: str, value: torch.Tensor) -> None:
    """Raise `InputError` if ``value`` holds NaN or infinity."""
    n_bad = int((~torch.isfinite(value)).sum())
    if n_bad:
        raise InputError(f"{name} holds {n_bad} values that are not finite; mask or replace them first")


def require_finite_inside(name: str, value: torch.Tensor, mask: torch.Tensor) -> None:
    """Raise `InputError` if ``value`` has not the shape of the grid or is not finite somewhere in the mask."""
    require_shape(name, value, mask.shape, "scan.grid")
    n_bad = int((~torch.isfinite(value[mask])).sum())
    if n_bad:
        raise InputError(f"{name} is not finite in {n_bad} voxels of the mask; take them out of the mask")


def require_choice(kind: str, name: str, known: Iterable[str]) -> None:
    """Raise `InputError` unless ``name`` is one of the known names."""
    known = list(known)
    if name not in known:
        raise InputError(f"unknown {kind} '{name}'; choose one of {', '.join(known)}")
