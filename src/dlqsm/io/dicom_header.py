"""What the header of a DICOM image tells: its series, what its values are, and who was scanned."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pydicom import config
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag

# A warning on a value that is not as the standard has it would repeat the value, and that may be a name.
config.settings.reading_validation_mode = config.IGNORE

COMPONENTS: Final = ("MAGNITUDE", "PHASE", "REAL", "IMAGINARY")
MIXED: Final = "MIXED"
_GE_CREATOR, _GE_COMPONENT = Tag(0x0043, 0x0010), Tag(0x0043, 0x102F)
_PEOPLE: Final = (
    "PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "ResponsiblePerson",
    "ReferringPhysicianName", "ConsultingPhysicianName", "PerformingPhysicianName", "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy", "RequestingPhysician", "OperatorsName",
)  # fmt: skip
_DAYS: Final = ("PatientBirthDate", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
_NAMED: Final = (
    *_PEOPLE, *_DAYS, "PatientID", "OtherPatientIDs", "AccessionNumber", "DeviceSerialNumber", "DeviceUID",
    "StationName", "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "StudyID",
    "StudyInstanceUID", "FrameOfReferenceUID", "ClinicalTrialSubjectID", "PerformedProcedureStepID",
)  # fmt: skip
"""Tags that may name a person, an examination or a machine, or tell the day."""
TAGS: Final = (
    *_NAMED, "Modality", "Rows", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "ImageType", "Manufacturer",
    "ComplexImageComponent", "NumberOfFrames", "PatientAge", "PatientSex", "ScanningSequence",
    "EchoPlanarPulseSequence", "RescaleSlope", "RescaleIntercept", "RescaleType", "RealWorldValueMappingSequence",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    _GE_CREATOR, _GE_COMPONENT,
)  # fmt: skip
Rescale = tuple[float, float, str]
"""Slope and intercept from stored values to the unit that the third entry names; empty where a header names none."""
LEFT_OUT: Final = "(left out, since it names somebody)"
"""Stands for a description that the headers of a series identify."""
_SHORTEST_NAME: Final = 3
_LONGEST_SHORT_WORD: Final = 3
_PHASE_UNITS: Final = ("mrad", "rad")
_NEUTRAL: Final = (("Slope", 1.0), ("Intercept", 0.0))
_OLDEST: Final = 89
"""Ages above are told as 89+, as BIDS advises, since they would point to a person."""


@dataclass(frozen=True, slots=True)
class Series:
    """One DICOM series.

    Parameters
    ----------
    number, description
        As the scanner numbers and names it.
    files
        Its files.
    shown
        The name that the user knows its first file by.
    components
        What its images are: of `COMPONENTS`, or `MIXED` where a header does not tell.
    is_echo_planar
        Whether it was read by an echo train, which no gradient-echo scan for QSM is.
    phase_rescales
        Rescaling of its phase images, each kind once.
    """

    number: int
    description: str
    files: tuple[Path, ...]
    shown: str
    components: frozenset[str]
    is_echo_planar: bool
    phase_rescales: frozenset[Rescale] = frozenset()

    def __str__(self) -> str:
        return f"series {self.number} '{self.description}'"


@dataclass(frozen=True, slots=True)
class Person:
    """Who was scanned: age and sex as participants.tsv has them, and words that must never be written.

    Parameters
    ----------
    age
        Years, or 89+; n/a where unknown.
    sex
        F, M or O; n/a where unknown.
    identifiers
        Names, numbers and dates of the headers, in lower case.
    """

    age: str = "n/a"
    sex: str = "n/a"
    identifiers: frozenset[str] = frozenset()

    def is_named_in(self, text: str) -> bool:
        """Whether a text holds anything that names the person, the examination or the machine.

        Short words, such as a department called MRI, count only by themselves: fcMRI names nobody.
        """
        return any(_holds(text.lower(), word) for word in self.identifiers)


def _holds(text: str, word: str) -> bool:
    if len(word) > _LONGEST_SHORT_WORD:
        return word in text
    return re.search(rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])", text) is not None


def series_of(files: list[tuple[Path, str]], heads: list[Dataset]) -> Series:
    """The series that files of one series UID are."""
    first = heads[0]
    return Series(
        int(first.get("SeriesNumber") or 0),
        str(first.get("SeriesDescription", "")),
        tuple(path for path, _ in files),
        files[0][1],
        frozenset(component for head in heads for component, _ in _images(head)),
        any(_is_echo_planar(head) for head in heads),
        frozenset(rescale for head in heads for component, rescale in _images(head) if component == "PHASE"),
    )


def person_of(heads: Iterable[Dataset]) -> Person:
    """Age, sex and identifiers, from all headers together."""
    heads = list(heads)
    values = {value for head in heads for tag in _NAMED for value in _texts(head, tag)}
    values |= {w for head in heads for tag in _PEOPLE for v in _texts(head, tag) for w in re.split(r"[\^\s=,]+", v)}
    values |= {day for head in heads for tag in _DAYS for v in _texts(head, tag) for day in _spellings(v)}
    words = {value.strip().lower() for value in values if len(value.strip()) >= _SHORTEST_NAME}
    sex = str(heads[0].get("PatientSex", "") or "n/a")
    return Person(_age(heads[0]), sex if sex in ("F", "M", "O") else "n/a", frozenset(words))


def without_names(series: Series, person: Person) -> Series:
    """The series, its description left out where that holds a name, a number or a day of the headers."""
    return replace(series, description=LEFT_OUT) if person.is_named_in(series.description) else series


def _texts(head: Dataset, tag: str) -> list[str]:
    """Values of a tag as texts; empty where it has none."""
    value = head.get(tag)
    return [str(one) for one in value] if isinstance(value, MultiValue) else [str(value)] if value else []


def _spellings(date: str) -> list[str]:
    """Ways in which people write a day."""
    year, month, day = date[:4], date[4:6], date[6:8]
    orders = ((year, month, day), (day, month, year), (month, day, year))
    short = (f"{year[2:]}{month}{day}", f"{day}{month}{year[2:]}")
    return [*(mark.join(order) for order in orders for mark in ("", "-", "_", ".")), *short] if len(date) == 8 else []


def component_of(words: Iterable[str]) -> str | None:
    """Which of `COMPONENTS` the words of an ImageType tell; None where they tell none or several."""
    told = {name for word in words for name in COMPONENTS if _tells(word, name)}
    return told.pop() if len(told) == 1 else None


def _tells(word: str, component: str) -> bool:
    """Whether a word is a component's name, its letter, or starts so, as PHASE MAP and M_FFE do."""
    letter = component[0]
    return word in (component, letter) or word.startswith((f"{component} ", f"{letter}_"))


def _images(head: Dataset) -> set[tuple[str, Rescale]]:
    """What the images of a file are and how they are scaled, frame by frame where it holds several."""
    own = _component_of_head(head)
    frames = head.get("PerFrameFunctionalGroupsSequence")
    if not frames:
        return {(own or MIXED, _rescale(head, head))}
    shared = (head.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    return {
        (_component_of_frame(frame) or _component_of_frame(shared) or own or MIXED, _rescale_of_frame(frame, shared))
        for frame in frames
    }


def _rescale_of_frame(frame: Dataset, shared: Dataset) -> Rescale:
    for group in (frame, shared):
        scaling = group.get("PixelValueTransformationSequence")
        if scaling:
            return _rescale(scaling[0], group)
    return _rescale(frame, frame)


def _rescale(scaling: Dataset, group: Dataset) -> Rescale:
    """The unit is that of RescaleType where this is one of phase, else that of the real-world values."""
    slope, intercept = (float(scaling.get(f"Rescale{name}") or default) for name, default in _NEUTRAL)
    named = str(scaling.get("RescaleType", "") or "").lower()
    mapping = group.get("RealWorldValueMappingSequence")
    if named not in _PHASE_UNITS and mapping:
        codes = mapping[0].get("MeasurementUnitsCodeSequence")
        named = str(codes[0].get("CodeValue", "")).lower() if codes else ""
    return slope, intercept, named if named in _PHASE_UNITS else ""


def _component_of_frame(group: Dataset) -> str | None:
    kinds = group.get("MRImageFrameTypeSequence")
    value = str(kinds[0].get("ComplexImageComponent", "")) if kinds else ""
    return value if value in (*COMPONENTS, MIXED) else None


def _component_of_head(head: Dataset) -> str | None:
    value = str(head.get("ComplexImageComponent", ""))
    if value in COMPONENTS:
        return value
    if str(head.get("Manufacturer", "")).upper().startswith("GE") and _GE_COMPONENT in head:
        return _component_of_number(head[_GE_COMPONENT].value)
    return component_of(str(word) for word in head.get("ImageType") or ())


def _component_of_number(value: object) -> str | None:
    """GE's number of what an image is; raw bytes where the file does not tell the type of the tag."""
    if isinstance(value, bytes):
        value = int.from_bytes(value[:2], "little")
    return COMPONENTS[value] if isinstance(value, int) and 0 <= value < len(COMPONENTS) else None


def _is_echo_planar(head: Dataset) -> bool:
    sequence = head.get("ScanningSequence") or ()
    words = [sequence] if isinstance(sequence, str) else list(sequence)
    return "EP" in words or head.get("EchoPlanarPulseSequence") == "YES"


def _age(head: Dataset) -> str:
    """Age in years: as told, or from the dates of birth and of the study; n/a where neither is there."""
    told = re.fullmatch(r"0*(\d+)Y", str(head.get("PatientAge", "") or ""))
    born, scanned = (str(head.get(tag, "") or "") for tag in ("PatientBirthDate", "StudyDate"))
    if told:
        years = int(told[1])
    elif re.fullmatch(r"\d{8}", born) and re.fullmatch(r"\d{8}", scanned):
        years = (int(scanned) - int(born)) // 10000
    else:
        return "n/a"
    return f"{_OLDEST}+" if years > _OLDEST else str(years)
