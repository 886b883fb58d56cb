"""The XML header of raw data as converters write it, mended where that leaves no doubt; each change is said."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from dlqsm.core.checks import InputError

IDENTITY: Final = ("subjectInformation", "studyInformation", "measurementInformation")
"""Elements on who was scanned, when, where and for whom; nothing that is computed needs them."""
MACHINE: Final = ("institutionName", "stationName", "deviceID", "deviceSerialNumber")
"""Children of acquisitionSystemInformation that tell the scanner from others of its kind."""
_DECLARED: Final = (b"<!DOCTYPE", b"<!ENTITY")
_WHOLE: Final = {"matrixSize": ("x", "y", "z"), "experimentalConditions": ("H1resonanceFrequency_Hz",)}
"""Elements whose children are whole numbers, which some converters write with a fraction."""
_LISTED: Final = ("TR", "TE", "TI", "flipAngle_deg")
_NEEDED: Final = {"encoding": ("encodingLimits", "trajectory"), "ismrmrdHeader": ("experimentalConditions", "encoding")}
"""Element to (child that the schema demands, child that it stands before)."""


def mended_header(path: Path, text: bytes) -> tuple[bytes, tuple[str, ...]]:
    """The header with what the schema demands and without names, and sentences on what was changed.

    What tells of people, days and machines is dropped here, before anything else sees it. Whole numbers that were
    written with a fraction are rounded (philips_to_ismrmrd multiplies matrix sizes by oversampling, ge_to_ismrmrd a
    frequency by a million), times that are no numbers are dropped (philips_to_ismrmrd writes ETH for the repetition
    time), and limits and conditions that are missing become empty ones.

    Raises
    ------
    InputError
        If the text is no XML, or declares entities, which could reach other files or grow without end.
    """
    if any(word in text.replace(b"\0", b"") for word in _DECLARED):  # zeros stand between letters of UTF-16
        raise InputError(
            f"{path}: its XML header declares a document type; no header of ISMRMRD does: do not trust this file, "
            "convert the scan again"
        )
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last two: of an encoding it cannot read
        raise InputError(f"{path}: its header is no XML, or does not follow the ISMRMRD schema ({error})") from None
    said: list[str] = []
    n_dropped = drop_identity(root)
    for element in root.iter():
        _round_children(element, said)
        _drop_words(element, said)
    for element in root.iter():
        _add_missing(element, said)
    return (ElementTree.tostring(root) if said or n_dropped else text), tuple(dict.fromkeys(said))


def drop_identity(root: ElementTree.Element) -> int:
    """Remove what tells of people, days and machines from a header; return the number of elements removed."""
    found = [(root, child) for child in root if _tag(child) in IDENTITY]
    systems = [child for child in root if _tag(child) == "acquisitionSystemInformation"]
    found += [(system, child) for system in systems for child in system if _tag(child) in MACHINE]
    for parent, child in found:
        parent.remove(child)
    return len(found)


def _round_children(element: ElementTree.Element, said: list[str]) -> None:
    for child in element:
        number = _number(child.text)
        if _tag(child) in _WHOLE.get(_tag(element), ()) and number is not None and not _is_whole(child.text):
            child.text = str(round(number))
            if abs(number - round(number)) > 1e-6 * abs(number):
                said.append(f"The header gives {number:g} for {_tag(element)}/{_tag(child)}; {child.text} is taken.")
            else:
                said.append(f"The header writes the whole number {_tag(element)}/{_tag(child)} with a fraction.")


def _drop_words(element: ElementTree.Element, said: list[str]) -> None:
    if _tag(element) != "sequenceParameters":
        return
    for child in list(element):
        if _tag(child) in _LISTED and _number(child.text) is None:
            element.remove(child)
            said.append(f"The header gives '{(child.text or '').strip()}' for {_tag(child)}, which is no number.")


def _add_missing(element: ElementTree.Element, said: list[str]) -> None:
    if _tag(element) not in _NEEDED:
        return
    name, before = _NEEDED[_tag(element)]
    tags = [_tag(child) for child in element]
    if name in tags or before not in tags:
        return
    space = element.tag[: -len(_tag(element))]
    new = ElementTree.Element(f"{space}{name}")
    if name == "experimentalConditions":
        ElementTree.SubElement(new, f"{space}H1resonanceFrequency_Hz").text = "0"
    element.insert(tags.index(before), new)
    said.append(f"The header has no {name}.")


def _tag(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _is_whole(text: str | None) -> bool:
    return bool(re.fullmatch(r"\s*[+-]?\d+\s*", text or ""))
