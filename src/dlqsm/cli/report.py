"""Rebuild the HTML pages of a folder that dlqsm demo, dlqsm qsm or dlqsm run wrote.

Folders of demo and qsm get OUT/report.html; a folder of run gets the page of every participant, OUT/sub-XX.html, a
small picture of all its arms in sub-XX/figures, and OUT/group.html where the group stage has been run. Each page is one
self-contained file.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from dlqsm.cli.arguments import add_memory_argument, path
from dlqsm.cli.console import start
from dlqsm.cli.memory import known_shape, state_memory
from dlqsm.cli.report_example import write_picture
from dlqsm.cli.report_group import read_group
from dlqsm.cli.report_reading import read_report
from dlqsm.core.checks import InputError
from dlqsm.io import manifest
from dlqsm.io.manifest import ArmFolders, Manifest
from dlqsm.io.maps import SUMMARY
from dlqsm.io.outputs import output_folder, write_text
from dlqsm.pipeline.memory import page_bytes
from dlqsm.report.group_page import group_page
from dlqsm.report.page import participant_page


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments."""
    del words
    parser.add_argument("out", type=path, metavar="OUT", help="folder that dlqsm demo, qsm or run wrote")
    add_memory_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; pages are made from other files, so that they are replaced without being asked."""
    talk, _ = start(arguments)
    if not arguments.out.is_dir():
        raise InputError(f"{arguments.out}: expected a folder written by dlqsm demo, qsm or run; there is none")
    if shapes := _largest_participant(arguments.out):
        state_memory(arguments, talk, page_bytes(shapes))
    with output_folder(arguments.out, overwrite=True, produces=()) as out:
        pages = build_pages(out)
    for page in pages:
        print(page)
    return 0


def build_pages(folder: Path) -> list[Path]:
    """Make every page that a folder has the material for; return them.

    Raises
    ------
    InputError
        If the folder holds nothing that dlqsm makes pages of.
    """
    participants = _participants(folder)
    groups = manifest.group_manifests(folder)
    if not participants and not groups:
        return [build_page(folder)]
    pages = [build_page(participant) for participant in participants]
    return [*pages, *(build_group_page(folder, name) for name in groups)]


def _largest_participant(folder: Path) -> list[tuple[int, ...]]:
    """Shapes of the maps of the arms of the participant who has most voxels; none where there are no maps."""
    places = [folder, *_participants(folder)]
    return max((_shapes(place) for place in places), key=lambda shapes: sum(map(math.prod, shapes)), default=[])


def _shapes(folder: Path) -> list[tuple[int, ...]]:
    if (folder / manifest.NAME).is_file():
        arms = manifest.read_manifest(folder).arms
        maps = [manifest.arm_file(folder, arm, "Chimap") or folder / arm.qsm / "Chimap.nii.gz" for arm in arms]
    else:
        maps = [folder / "Chimap.nii.gz"]
    return [shape for file in maps if file.is_file() and (shape := known_shape(file))]


def _participants(folder: Path) -> list[Path]:
    places = (f"sub-*/{manifest.NAME}", f"sub-*/ses-*/{manifest.NAME}")
    return sorted(file.parent for place in places for file in folder.glob(place))


def build_page(folder: Path) -> Path:
    """Make the page of one participant: ``report.html`` in the folder, or where its manifest says.

    Raises
    ------
    InputError
        If the folder holds neither ``report.json`` nor ``qsm.json``.
    """
    if (folder / manifest.NAME).is_file():
        content = manifest.read_manifest(folder)
    elif (folder / SUMMARY).is_file():
        content = Manifest(folder.resolve().name, (ArmFolders(folder.resolve().name, "."),))
    else:
        raise InputError(
            f"{folder}: expected a folder written by dlqsm demo, qsm or run; it has no {manifest.NAME} and no {SUMMARY}"
        )
    page, report = _beside(folder, content.page), read_report(folder, content)
    if page.parent != folder:
        write_picture(folder, report)
    write_text(page, participant_page(report))
    return page


def build_group_page(out: Path, name: str = manifest.GROUP_NAME) -> Path:
    """Make ``group.html`` of a folder of dlqsm run from its ``group.json``, and the tables and figures named there.

    Parameters
    ----------
    out
        Folder of the derivatives.
    name
        Of the manifest, which is another one for each session.

    Raises
    ------
    InputError
        If the group stage has not been run, or a file that it wrote is missing.
    """
    if not (out / name).is_file():
        raise InputError(f"{out}: has no {name}; run the group stage first: dlqsm run BIDS OUT group")
    content = manifest.read_group_manifest(out, name)
    page = out / content.page
    write_text(page, group_page(read_group(out, content)))
    return page


def _beside(folder: Path, page: str) -> Path:
    """``folder/../sub-01.html`` as ``sub-01.html`` beside the folder."""
    while page.startswith("../"):
        folder, page = folder.parent, page.removeprefix("../")
    return folder / page
