"""From the tables and figures of a dataset to what its group page is made of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

from dlqsm.cli.report_example import example_of
from dlqsm.cli.report_reading import software
from dlqsm.io import manifest
from dlqsm.io.bids_names import unit_of
from dlqsm.io.derivatives import ACCOUNT_SUFFIX, unit_folder
from dlqsm.io.manifest import GroupManifest, arm_file, read_manifest
from dlqsm.io.outputs import read_json
from dlqsm.io.tables import read_table
from dlqsm.report.group import VALUES, GroupFigure, GroupReport
from dlqsm.report.summary import methods_of

AGREEMENT: Final = ("arm", "roi", "side", "n", "bias_ppb", "p_holm", "tost_p")
AGE: Final = ("arm", "roi", "n", "pearson_r", "p")
MIXED: Final = ("kind", "arm", "roi", "effect", "estimate", "low", "high", "statistic", "p")
DEFINITIONS: Final = ("arm", "measure", "scale", "domain", "dimension", "mean", "lowest", "highest")
_FIGURES: Final = {
    "equivalence": (
        "Equivalence",
        "Bias of each nucleus with its 90 % interval, which decides on equivalence; the band is the margin.",
    ),
    "bland_altman": (
        "Bland-Altman",
        "Difference against mean, a panel a nucleus and arm; line: bias, dashes: limits of agreement, each with its "
        "95 % interval; grey: the limits of the repeat.",
    ),
    "correlation": ("Values of the arms", "Arm against reference, a panel a nucleus and arm."),
    "age": ("Values and age", "Each nucleus against age, with the line of each arm."),
    "age_slopes": ("Slopes with age", "Slope of each nucleus on age with its 95 % interval."),
}
"""Stem of a figure's file to title and note, in the order shown."""
_FOLDED: Final = ("correlation", "age_slopes")


def read_group(folder: Path, content: GroupManifest) -> GroupReport:
    """Read all that the group page shows.

    Raises
    ------
    InputError
        If a file that the manifest names is missing or cannot be used.
    """
    values = read_table(folder / content.values, VALUES)
    about = _about(folder, content.agreement)
    accounts = _accounts(folder, content)
    repeat = about.get("Repeat") or None

    def table(name: str | None, required: tuple[str, ...]) -> pd.DataFrame | None:
        return None if name is None else read_table(folder / name, required)

    similarity = table(content.similarity, ("participant_id", "arm"))
    return GroupReport(
        dataset=content.dataset if content.session is None else f"{content.dataset}, {content.session}",
        participants=_participants(values, content),
        values=values,
        arms=_in_order(content.arms, content.reference_arm, repeat),
        reference_arm=content.reference_arm,
        margin_ppb=content.margin_ppb,
        agreement=table(content.agreement, AGREEMENT),
        age=table(content.age, AGE),
        mixed=table(content.mixed, MIXED),
        mixed_account=_about(folder, content.mixed),
        answer=tuple(map(str, about.get("Answer") or ())),
        similarity=similarity,
        registration=table(content.registration, ("participant_id", "arm")),
        definitions=table(content.definitions, DEFINITIONS),
        alarms=table(content.alarms, ("participant_id", "arm", "alarm", "level", "text")),
        figures=_figures(folder, content.figures),
        example=example_of(folder, _most_complete(values), similarity, content.session),
        pages=content.pages,
        problems=content.problems,
        notes=content.notes,
        methods=content.methods or methods_of(accounts.get(content.reference_arm, {})),
        accounts={} if content.methods else accounts,
        software=software(),
        repeat=repeat,
    )


def _most_complete(values: pd.DataFrame) -> list[str]:
    """Participants who have as many arms as anyone has."""
    n_arms = values.groupby("participant_id")["arm"].nunique()
    return sorted(str(label) for label in n_arms[n_arms == n_arms.max()].index)


def _in_order(arms: tuple[str, ...], reference: str, repeat: str | None) -> tuple[str, ...]:
    """The reference first, its repeat last."""
    return tuple(sorted(arms, key=lambda arm: (arm != reference, arm == repeat)))


def _participants(values: pd.DataFrame, content: GroupManifest) -> pd.DataFrame:
    """Everyone who was measured, has a page or failed, with age and sex where the values tell them."""
    known = [name for name in ("age", "sex") if name in values]
    measured = values.groupby("participant_id", sort=False)[known].first() if known else pd.DataFrame()
    named = [*values["participant_id"], *content.pages, *(who for who in content.problems if who.startswith("sub-"))]
    labels = sorted(set(map(str, named)))
    return measured.reindex(labels).rename_axis("participant_id").reset_index()


def _figures(folder: Path, names: tuple[str, ...]) -> tuple[GroupFigure, ...]:
    """Each figure once, as SVG where there is one; the known ones first and in their order."""
    files: dict[str, Path] = {}
    for path in (folder / name for name in names):
        if path.suffix == ".svg" or (path.suffix == ".png" and path.stem not in files):
            files[path.stem] = path
    order = [*(stem for stem in _FIGURES if stem in files), *(stem for stem in files if stem not in _FIGURES)]
    return tuple(_figure(stem, files[stem]) for stem in order)


def _figure(stem: str, path: Path) -> GroupFigure:
    title, note = _FIGURES.get(stem, (stem.replace("_", " ").capitalize(), ""))
    alt = f"{title}. {note} The numbers stand in the tables of this page." if note else title
    topic = "age" if stem.startswith("age") else "agreement"
    return GroupFigure(title, note, alt, path.read_bytes(), topic, is_folded=stem in _FOLDED, name=stem)


def _accounts(folder: Path, content: GroupManifest) -> dict[str, Mapping[str, Any]]:
    """Arm to how its maps were made, as the first participant who has it tells."""
    found: dict[str, Mapping[str, Any]] = {}
    for label in content.pages:
        own = unit_folder(folder, unit_of(label, content.session))
        if not (own / manifest.NAME).is_file():
            continue
        for arm in read_manifest(own).arms:
            path = arm_file(own, arm, "summary")
            if arm.name not in found and path is not None and path.is_file():
                found[arm.name] = read_json(path)
    # Participants of a stream keep their accounts, but neither images nor a manifest.
    for arm_name in content.arms:
        paths = sorted(folder.glob(f"sub-*/**/sub-*_acq-{arm_name}_*{ACCOUNT_SUFFIX}.json"))
        if arm_name not in found and paths:
            found[arm_name] = read_json(paths[0])
    return found


def _about(folder: Path, name: str | None) -> dict[str, Any]:
    """The JSON beside a table; empty where there is none."""
    path = None if name is None else (folder / name).with_suffix(".json")
    return dict(read_json(path)) if path is not None and path.is_file() else {}
