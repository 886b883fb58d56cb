"""Whether raw data tell whom they are of, and what they tell of it, for who asks to keep it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Final, TypeAlias
from xml.etree import ElementTree

import h5py
from ismrmrd import xsd

from dlqsm.core.checks import InputError
from dlqsm.io.raw import read_heads
from dlqsm.io.raw_mend import IDENTITY, drop_identity, mended_header

Identity: TypeAlias = xsd.ismrmrdHeader
"""A header whose subject, study and measurement are of interest."""
_OWN: Final = "dlqsm_"
"""How the names of dlqsm's own user parameters begin."""


def tells_identity(path: Path) -> bool:
    """Whether a file holds anything on people, days or machines, or texts of others that might.

    True too of the clock of the acquisitions, which counts from midnight, of attributes, and of user parameters that
    are not dlqsm's.
    """
    _, _, text, heads = read_heads(path)
    mended_header(path, text)  # raises where the header is no XML
    root = ElementTree.fromstring(text)
    texts = [element for element in root.iter() if _tag(element) == "userParameterString"]
    foreign = [e for e in texts if not any(_tag(c) == "name" and str(c.text).startswith(_OWN) for c in e)]
    return bool(drop_identity(root) or foreign or heads["acquisition_time_stamp"].any() or _has_attributes(path))


def read_identity(path: Path) -> Identity:
    """A header that holds what a file tells of subject, study and measurement, and nothing else.

    Raises
    ------
    InputError
        If those parts do not follow the schema.
    """
    _, _, text, _ = read_heads(path)
    mended_header(path, text)  # raises where the header is no XML
    root = ElementTree.fromstring(text)
    space = root.tag[: -len(_tag(root))]
    for child in list(root):
        if _tag(child) not in IDENTITY:
            root.remove(child)
    conditions = ElementTree.SubElement(root, f"{space}experimentalConditions")  # which the schema demands
    ElementTree.SubElement(conditions, f"{space}H1resonanceFrequency_Hz").text = "0"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values of another type than the schema's, which are repeated there
            return xsd.CreateFromDocument(ElementTree.tostring(root))
    except Exception:  # the parser has no exception class of its own, and its sentence would repeat the values
        raise InputError(
            f"{path}: what its header tells of subject, study and measurement does not follow the ISMRMRD schema; "
            "leave out --keep-identity"
        ) from None


def _has_attributes(path: Path) -> bool:
    with h5py.File(path, "r") as file:
        found = bool(file.attrs)

        def look(_: str, item: h5py.HLObject) -> None:
            nonlocal found
            found = found or bool(item.attrs)

        file.visititems(look)
    return found


def _tag(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]
