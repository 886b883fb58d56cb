"""Where every file of the derivatives comes from, in the form of BIDS-Prov, from the records of the stages.

References
----------
BIDS extension proposal 28, "Provenance", in public review since 2025 (bids-specification, pull request 2099): files
``prov/prov-<label>_act|ent|env|soft.json`` with ``Activities``, ``ProvEntities``, ``Environments`` and ``Software``.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import dlqsm
from dlqsm.cohort.participant import ALL, RECORDS
from dlqsm.cohort.records import PACKAGES, Record, content_hash, read_record
from dlqsm.core.checks import InputError
from dlqsm.io.derivatives import uri
from dlqsm.io.outputs import read_json, write_json, write_text

FOLDER: Final = "prov"
GROUP_RECORDS: Final = "group"
_STEM: Final = "prov-dlqsm"
_LABELS: Final = {
    "recon": "Reconstruction of raw data",
    "qsm": "Susceptibility from echo images",
    "nuclei": "Registration, and values of nuclei",
    "page": "Page",
    "group": "Comparison of the arms",
}
_NOTE: Final = "dlqsm run: from scans to susceptibility of the deep brain nuclei"


def about_process(stage: str, seconds: float) -> dict[str, Any]:
    """What a record keeps for provenance: when the stage ran that ends now, with what software, on what system."""
    ended = datetime.now(UTC)
    packages = {name: metadata.version(name) for name in PACKAGES.get(stage, ())}
    return {
        "started": _stamp(ended - timedelta(seconds=seconds)),
        "ended": _stamp(ended),
        "software": {"dlqsm": dlqsm.__version__, **packages},
        "environment": {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"},
    }


def write_provenance(out: Path, bids: Path) -> list[Path]:
    """Write the provenance of all that the records of a folder of derivatives tell; return the files.

    Parameters
    ----------
    out, bids
        Folder of the derivatives, and the dataset that they were made from.
    """
    graph = _Graph(out)
    for folder in sorted(path for path in (out / RECORDS).glob("*") if path.is_dir()):
        digests = _digests(folder / "sources.json", out, bids)
        records = _records_of(folder)
        for (arm, stage), record in records.items():
            before = records.get((arm, "recon")) if stage == "qsm" and not record.about.get("inputs") else None
            between = [] if before is None else _lost_outputs(folder.name, arm, before)
            graph.add(folder.name, arm, stage, record, between, digests)
    contents = {
        "act": {"Activities": graph.activities},
        "ent": {"ProvEntities": list(graph.entities.values())},
        "soft": {"Software": list(graph.software.values())},
        "env": {"Environments": list(graph.environments.values())},
    }
    paths = {suffix: out / FOLDER / f"{_STEM}_{suffix}.json" for suffix in contents}
    for suffix, content in contents.items():
        write_json(paths[suffix], content)
    write_text(out / FOLDER / "provenance.tsv", f"provenance_label\tdescription\n{_STEM}\t{_NOTE}\n")
    return [*paths.values(), out / FOLDER / "provenance.tsv"]


class _Graph:
    """Activities with what they used and made, each thing once."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self.activities: list[dict[str, Any]] = []
        self.entities: dict[str, dict[str, Any]] = {}
        self.software: dict[str, dict[str, Any]] = {}
        self.environments: dict[str, dict[str, Any]] = {}

    def add(
        self, unit: str, arm: str, stage: str, record: Record, between: list[str], digests: Mapping[str, str]
    ) -> None:
        """Add a stage with its inputs and outputs."""
        name = _activity(unit, arm, stage, record)
        used = [*map(str, record.about.get("inputs", ())), *between]
        for address in used:
            self._entity(address, digests.get(address))
        outputs = [uri(self._out / path, self._out, self._out) for path in record.outputs if _stays(stage)]
        for address in [*outputs, *(() if _stays(stage) else _lost_outputs(unit, arm, record))]:
            self._entity(address, None)["GeneratedBy"] = name
        activity: dict[str, Any] = {
            "Id": name,
            "Label": f"{_LABELS.get(stage, stage)}: {unit}{'' if arm == ALL else f' {arm}'}",
            "Command": record.about.get("command", "dlqsm run"),
            "AssociatedWith": [self._software(*pair) for pair in record.about.get("software", {}).items()],
            "Used": [*self._environment(record.about.get("environment")), *used],
        }
        for key, entry in (("StartedAtTime", "started"), ("EndedAtTime", "ended")):
            if entry in record.about:
                activity[key] = record.about[entry]
        self.activities.append(activity)

    def _entity(self, address: str, sha256: str | None) -> dict[str, Any]:
        place = address.rpartition(":")[2]
        is_lost = place.startswith(f"{FOLDER}#")
        label = place.partition("#")[2] if is_lost else Path(place).name
        entity = self.entities.setdefault(address, {"Id": address, "Label": label})
        if not is_lost:
            entity["AtLocation"] = place
        if sha256 is not None:
            entity["Digest"] = {"sha256": sha256}
        return entity

    def _software(self, name: str, version: str) -> str:
        address = _own(name, content_hash({name: version}))
        self.software.setdefault(address, {"Id": address, "Label": name, "Version": version})
        return address

    def _environment(self, told: Mapping[str, str] | None) -> list[str]:
        if not told:
            return []
        address = _own("python", content_hash(told))
        label = f"Python {told.get('python')}"
        self.environments.setdefault(address, {"Id": address, "Label": label, "OperatingSystem": told.get("system")})
        return [address]


def _activity(unit: str, arm: str, stage: str, record: Record) -> str:
    return _own(stage, content_hash({"unit": unit, "arm": arm, "stage": stage, "key": record.key}))


def _own(label: str, digest: str) -> str:
    """Identifier of a thing that is described here and is no file."""
    return f"bids::{FOLDER}#{label}-{digest[:8]}"


def _stays(stage: str) -> bool:
    """Whether what a stage writes stays; what lies between reconstruction and maps goes when a participant is done."""
    return stage != "recon"


def _lost_outputs(unit: str, arm: str, record: Record) -> list[str]:
    digest = content_hash({"unit": unit, "arm": arm, "key": record.key})
    return [_own(Path(path).name.partition(".")[0], digest) for path in record.outputs]


def _records_of(folder: Path) -> dict[tuple[str, str], Record]:
    """Arm and stage to the record of one participant, session or group."""
    found: dict[tuple[str, str], Record] = {}
    for path in sorted(folder.glob("*_*.json")):
        arm, _, stage = path.stem.rpartition("_")
        record = read_record(path)
        if record is not None:
            found[arm, stage] = record
    return found


def _digests(sources: Path, out: Path, bids: Path) -> dict[str, str]:
    """URI to the hash of a file's content, of those that were read."""
    try:
        known: Iterable[tuple[str, Any]] = read_json(sources).items()
    except InputError:
        return {}
    return {_address(p, out, bids): str(e["sha256"]) for p, e in known if isinstance(e, dict) and "sha256" in e}


def _address(name: str, out: Path, bids: Path) -> str:
    """The URI of a file by the name that `Fingerprints` keeps it under; earlier versions kept its path."""
    if Path(name).is_absolute():
        return uri(Path(name), out, bids)
    return name if name.startswith("bids:") else name.rpartition("#")[0]


def _stamp(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
