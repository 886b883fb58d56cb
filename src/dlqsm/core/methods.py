"""The one piece of framework: a signature for each step, and the choice of a method by name.

A step's methods are plain functions in one visible dict. Inputs are positional and the same for the whole table; a
method's own parameters are keyword-only, and their defaults in the signature are the only ones there are.
"""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch

from dlqsm.core.checks import InputError, require_choice
from dlqsm.core.scan import Scan
from dlqsm.core.solvers import Convergence

Method = TypeVar("Method", bound=Callable[..., Any])


class Account(Protocol):
    """How a step went."""

    def as_dict(self) -> dict[str, object]:
        """Plain numbers for a JSON file."""


class Unwrap(Protocol):
    """Remove multiples of 2 pi from a phase map."""

    def __call__(
        self, wrapped_phase_rad: torch.Tensor, mask: torch.Tensor, scan: Scan, quality: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, Account]:
        """Return the unwrapped phase [rad], the mask where its turns are certain, and an account.

        ``quality`` is in [0, 1], 1 best; the phase is zero outside the mask.
        """


class Background(Protocol):
    """Remove the field of sources outside the mask."""

    def __call__(
        self, total_field_ppm: torch.Tensor, mask: torch.Tensor, scan: Scan, noise_ppm: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, Convergence]:
        """Return the local field [ppm], the mask where it is valid, and the `Convergence`."""


class Inversion(Protocol):
    """Solve for the susceptibility that makes a local field."""

    def __call__(
        self,
        local_field_ppm: torch.Tensor,
        mask: torch.Tensor,
        scan: Scan,
        noise_ppm: torch.Tensor | None,
        magnitude: torch.Tensor | None,
    ) -> tuple[torch.Tensor, Convergence]:
        """Return chi [ppm], not referenced, zero outside the mask, and the `Convergence`."""


class Reconstruction(Protocol):
    """Make echo images of a slab of hybrid (x, ky, kz) data."""

    def __call__(
        self, hybrid_slab: torch.Tensor, sampling_mask: torch.Tensor, sensitivity_maps: torch.Tensor, noise: float
    ) -> torch.Tensor:
        """Map ``(echo, coil, x, ky, kz)`` to images ``(echo, channel, x, y, z)``; 1 channel where combined."""


@dataclass(frozen=True, slots=True)
class Option:
    """One keyword-only parameter of a method: its name, type, default and the first sentence of its description."""

    name: str
    kind: type
    default: object
    help: str


def options_of(method: Callable[..., Any]) -> dict[str, Option]:
    """List the keyword-only parameters of a method, read from its signature and NumPy-style docstring.

    Volumes are input that only some methods use, not options.
    """
    hints = typing.get_type_hints(method)
    described = _described_parameters(inspect.getdoc(method) or "")
    return {
        name: Option(name, _plain_type(hints[name]), parameter.default, described.get(name, ""))
        for name, parameter in inspect.signature(method).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and _plain_type(hints[name]) is not torch.Tensor
    }


def choose(step: str, table: Mapping[str, Method], name: str, options: Mapping[str, Any] | None = None) -> Method:
    """Return the named method with its options bound.

    Raises
    ------
    InputError
        If the name is not in the table, an option is not a parameter of the method, or a number is below zero, which no
        method takes: so it is told before the steps that come first have run.
    """
    require_choice(f"{step} method", name, table)
    method, options = table[name], dict(options or {})
    known = options_of(method)
    for option, value in options.items():
        if option not in known:
            has = ", ".join(known) if known else "none"
            raise InputError(f"{step} method '{name}' has no option '{option}'; its options are: {has}")
        for number in _numbers(value):
            if number < 0:
                raise InputError(f"{option} of the {step} method '{name}' must be zero or more; got {number}")
    return typing.cast(Method, functools.partial(method, **options)) if options else method


def resolved_options(method: Callable[..., Any]) -> dict[str, Any]:
    """All keyword-only parameters of a (possibly bound) method with the values they will have."""
    bound = method.keywords if isinstance(method, functools.partial) else {}
    plain = method.func if isinstance(method, functools.partial) else method
    return {name: bound.get(name, option.default) for name, option in options_of(plain).items()}


def _numbers(value: Any) -> tuple[float, ...]:
    parts = value if isinstance(value, tuple) else (value,)
    return tuple(part for part in parts if isinstance(part, int | float))


def _plain_type(hint: Any) -> type:
    """The scalar type of a hint: ``float | None`` is float, ``tuple[float, ...]`` is tuple."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    return typing.cast(type, typing.get_origin(hint) or hint)


def _described_parameters(doc: str) -> dict[str, str]:
    found = re.search(r"^Parameters\n-+\n(.*?)(?:\n\n[A-Z]\w+\n-+|\Z)", doc, flags=re.S | re.M)
    described: dict[str, str] = {}
    if found:
        for names, text in re.findall(r"^(\w[\w, ]*)\n((?: {4}.*\n?|\n)+)", found.group(1) + "\n", flags=re.M):
            sentence = " ".join(text.split())
            described.update({name.strip(): sentence for name in names.split(",")})
    return described
