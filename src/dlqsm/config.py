"""Which method each step uses, and with what options: one frozen object, read from TOML, unknown keys are errors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from dlqsm.core.checks import InputError, require_choice
from dlqsm.core.methods import choose, options_of, resolved_options
from dlqsm.io.toml_file import read_toml
from dlqsm.qsm.background import BACKGROUND_REMOVERS
from dlqsm.qsm.field import FIELD_ESTIMATORS
from dlqsm.qsm.inversion import INVERSIONS
from dlqsm.qsm.unwrap import UNWRAPPERS
from dlqsm.reconstruction import RECONSTRUCTIONS
from dlqsm.reconstruction.learned.weights import weights_file

TABLES: Final[dict[str, Mapping[str, Any]]] = {
    "reconstruction": RECONSTRUCTIONS,
    "field": FIELD_ESTIMATORS,
    "unwrap": UNWRAPPERS,
    "background": BACKGROUND_REMOVERS,
    "inversion": INVERSIONS,
}
"""Step to its table of methods."""


@dataclass(frozen=True, slots=True)
class Step:
    """A method by name, with the options that differ from its signature's defaults."""

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def bound(self, step: str) -> Any:
        """The method of ``step`` with its options bound; unknown names raise `InputError`."""
        return choose(step, TABLES[step], self.method, self.options)

    def resolved(self, step: str) -> dict[str, Any]:
        """Method and all its options with the values they have, for the record."""
        return {"method": self.method, "parameters": resolved_options(self.bound(step))}


@dataclass(frozen=True, slots=True)
class QsmConfig:
    """The steps from echo images to susceptibility.

    Parameters
    ----------
    field, unwrap, background, inversion
        Method and options of each step.
    reference
        Region whose mean is zero: ``brain`` (the eroded mask) or ``csf``; an external region comes as an array.
    """

    field: Step = Step("mdi")
    unwrap: Step = Step("spun")
    background: Step = Step("pdf_tv")
    inversion: Step = Step("l1")
    reference: str = "brain"

    def __post_init__(self) -> None:
        for name in STEPS:
            getattr(self, name).bound(name)

    def with_step(self, name: str, method: str | None, options: Mapping[str, Any]) -> QsmConfig:
        """Copy with another method (its options start anew) or more options of one step."""
        old: Step = getattr(self, name)
        kept = old.options if method in (None, old.method) else {}
        changed: dict[str, Any] = {name: Step(method or old.method, {**kept, **options})}
        return replace(self, **changed)

    def with_chosen(self, convergence: Mapping[str, Any]) -> QsmConfig:
        """Copy that keeps the strength which an inversion tells to have chosen; the same where it chose none."""
        strength = convergence.get("chosen", {}).get("strength_ppm")
        return self if strength is None else self.with_step("inversion", None, {"strength": strength})

    def resolved(self) -> dict[str, Any]:
        """Everything that runs, defaults filled in from the signatures."""
        return {**{name: getattr(self, name).resolved(name) for name in STEPS}, "reference": self.reference}


_KINDS: Final = {
    float: "a number", int: "a whole number", bool: "true or false", str: "text in quotes", tuple: "a list of numbers",
}  # fmt: skip
CLUSTER: Final = "cluster"
"""Table of the configuration file about jobs of a queue."""
RECONSTRUCTION: Final = "reconstruction"
"""Table of the configuration file that holds one table a method of reconstruction."""
REFERENCES: Final = ("brain", "csf")
STEPS: Final = tuple(f.name for f in fields(QsmConfig) if f.name != "reference")


def read_qsm_config(path: Path) -> QsmConfig:
    """Read a `QsmConfig` from TOML: one table a step with ``method`` and its options, and ``reference``.

    The table ``[cluster]`` may stand beside them, and tables ``[reconstruction.METHOD]``, which `read_cluster_config`
    and `read_reconstruction_options` read; the latter are checked here too.

    Raises
    ------
    InputError
        If the file is no TOML, or names a step, method or option that does not exist.
    """
    config = QsmConfig()
    read_reconstruction_options(path)
    for key, value in read_toml(path).items():
        if key in (CLUSTER, RECONSTRUCTION):
            continue
        try:
            config = _with_entry(config, key, value)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    return config


def _with_entry(config: QsmConfig, key: str, value: Any) -> QsmConfig:
    if key == "reference" and isinstance(value, str):
        require_choice("reference", value, REFERENCES)
        return replace(config, reference=value)
    if key not in STEPS or not isinstance(value, dict):
        known = "], [".join((f"{RECONSTRUCTION}.METHOD", *STEPS, CLUSTER))
        raise InputError(f"unknown entry '{key}'; expected reference = \"...\" or a table [{known}]")
    options = _as_options({name: v for name, v in value.items() if name != "method"})
    method = value.get("method")
    if method is not None and not isinstance(method, str):
        raise InputError(f"the method of [{key}] must be a name in quotes; got {method!r}")
    changed = config.with_step(key, method, options)
    _require_kinds(key, TABLES[key][getattr(changed, key).method], options)
    return changed


def read_reconstruction_options(path: Path) -> dict[str, dict[str, Any]]:
    """Options of reconstructions by method, from tables ``[reconstruction.METHOD]`` of a TOML file; {} without any.

    A file of weights is looked for from the folder of the TOML file.

    Raises
    ------
    InputError
        If the file is no TOML, or names a method, an option or a file of weights that does not exist.
    """
    tables = read_toml(path).get(RECONSTRUCTION, {})
    try:
        if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
            raise InputError(f"[{RECONSTRUCTION}] must hold one table a method, such as [{RECONSTRUCTION}.joint]")
        found = {method: _as_options(table) for method, table in tables.items()}
        for method, options in found.items():
            choose(RECONSTRUCTION, RECONSTRUCTIONS, method, options)
            _require_kinds(f"{RECONSTRUCTION}.{method}", RECONSTRUCTIONS[method], options)
            if (weights := options.get("weights")) is not None:
                options["weights"] = str(weights_file(method, path.parent / Path(weights).expanduser()))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return found


def _as_options(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in table.items()}


def _require_kinds(table: str, method: Any, options: Mapping[str, Any]) -> None:
    has = options_of(method)
    for name, given in options.items():
        kind = has[name].kind
        if not _is_of_kind(given, kind):
            raise InputError(f"the option {name} of [{table}] must be {_KINDS.get(kind, kind.__name__)}; got {given!r}")


def _is_of_kind(value: Any, kind: type) -> bool:
    """Whether a value of TOML can stand for an option; a whole number may stand for any other."""
    if kind is tuple:
        return isinstance(value, tuple) and all(_is_of_kind(part, float) for part in value)
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    if kind is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, kind)


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """Jobs of a queue that run the stages of a study, and how they are asked for.

    Parameters
    ----------
    cores, memory
        Of one job; memory with its unit, as in ``"32 GB"``.
    walltime
        Of one job, as the queue writes it: ``"08:00:00"``.
    n_jobs
        Jobs at most; fewer where the study has fewer arms.
    processes
        Stages that one job runs side by side; as many as its memory allows where None.
    queue, account
        Partition or queue, and who pays; what the queue does by itself where None.
    interface
        Network interface of the nodes, such as ``ib0``.
    extra_directives
        Further lines for the head of the job script, without the queue's prefix.
    prologue
        Lines of shell that make Python and dlqsm available on a node.
    """

    cores: int
    memory: str
    walltime: str
    n_jobs: int
    processes: int | None = None
    queue: str | None = None
    account: str | None = None
    interface: str | None = None
    extra_directives: tuple[str, ...] = ()
    prologue: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("cores", "n_jobs", "processes"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise InputError(f"{name} must be a whole number above zero; got {value!r}")
        for name in ("memory", "walltime", "queue", "account", "interface"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise InputError(f'{name} must be text in quotes, such as memory = "32 GB"; got {value!r}')
        for name in ("extra_directives", "prologue"):
            if not isinstance(getattr(self, name), tuple) or not all(isinstance(v, str) for v in getattr(self, name)):
                raise InputError(
                    f'{name} must be a list of texts, such as ["--exclusive"]; got {getattr(self, name)!r}'
                )
        if self.processes is not None and self.processes > self.cores:
            raise InputError(f"processes = {self.processes} is more than cores = {self.cores}")


def read_cluster_config(path: Path) -> ClusterConfig:
    """Read the table ``[cluster]`` of a configuration file.

    Raises
    ------
    InputError
        If there is none, an entry is unknown or of the wrong kind, or one that is needed is missing.
    """
    table = read_toml(path).get(CLUSTER)
    known = {f.name: f for f in fields(ClusterConfig)}
    needed = [name for name, f in known.items() if f.default is MISSING]
    if not isinstance(table, dict):
        raise InputError(f"{path}: has no table [{CLUSTER}]; expected one with {', '.join(needed)}")
    unknown = [name for name in table if name not in known]
    if unknown:
        raise InputError(f"{path}: [{CLUSTER}] has an unknown entry '{unknown[0]}'; expected {', '.join(known)}")
    missing = [name for name in needed if name not in table]
    if missing:
        raise InputError(f"{path}: [{CLUSTER}] lacks {', '.join(missing)}")
    try:
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in table.items()}
        return ClusterConfig(**values)
    except InputError as error:
        raise InputError(f"{path}: [{CLUSTER}] {error}") from None
