"""A susceptibility map as a DICOM series beside the scan that it was made of.

Classic MR images with signed integers and a rescale to ppb, since this is what archives and viewers read; the quantity
and its unit stand in the Real World Value Mapping too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pydicom.valuerep import DSfloat

from dlqsm.core.units import PPB_PER_PPM
from dlqsm.io.dicom_stack import Source, Stack
from dlqsm.io.outputs import whole_file
from dlqsm.io.version import full_version

FINEST_PPB: Final = 0.1
"""Step of the stored numbers, a hundredth of the noise of a map; coarser by tens where a map would not fit."""
_LARGEST: Final = 32767
_WINDOW_PPB: Final = 300
_REQUIRED: Final = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "ReferringPhysicianName",
    "StudyID", "AccessionNumber", "StudyInstanceUID", "FrameOfReferenceUID", "PositionReferenceIndicator",
    "ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTrainLength", "PatientPosition",
)  # fmt: skip
"""Of patient, study and scan; DICOM wants them there even where they are empty."""
_WHERE_KNOWN: Final = (
    "SpecificCharacterSet", "TimezoneOffsetFromUTC", "IssuerOfPatientID", "OtherPatientIDsSequence", "PatientAge",
    "PatientSize", "PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod",
    "DeidentificationMethodCodeSequence", "ClinicalTrialSponsorName", "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID", "StudyDescription", "IssuerOfAccessionNumberSequence", "BodyPartExamined",
    "ProtocolName", "MagneticFieldStrength", "ImagingFrequency", "FlipAngle", "AcquisitionDate", "AcquisitionTime",
)  # fmt: skip
_OF_ITEMS: Final = (
    "PatientID", "IssuerOfPatientID", "TypeOfPatientID", "CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion",
    "CodeMeaning", "LocalNamespaceEntityID", "UniversalEntityID", "UniversalEntityIDType",
)  # fmt: skip
"""What is copied of the items of a sequence; what else a scanner put there, private tags among it, is not."""
_SCANNER: Final = (
    "Manufacturer", "InstitutionName", "StationName", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions"
)  # fmt: skip
_STEPS: Final = {
    "EstimationAlgorithm": "field",
    "Unwrapping": "unwrapping",
    "BackgroundRemoval": "background",
    "DipoleInversion": "inversion",
}
"""Entries of a sidecar that name the methods of a map."""


def stored_numbers(chi_ppm: NDArray[np.float32]) -> tuple[NDArray[np.int16], float]:
    """Signed integers and the step [ppb] between them."""
    chi_ppb = np.asarray(chi_ppm, dtype=np.float64) * PPB_PER_PPM
    step_ppb, largest = FINEST_PPB, float(np.abs(chi_ppb).max())
    while largest / step_ppb > _LARGEST:
        step_ppb *= 10
    return np.rint(chi_ppb / step_ppb).astype(np.int16), step_ppb


def method_sentence(sidecar: Mapping[str, Any]) -> str:
    """How a map came about, by its sidecar."""
    steps = {step: sidecar[key] for key, step in _STEPS.items() if isinstance(sidecar.get(key), dict)}
    told = [f"{step} {about.get('method', 'unknown')}" for step, about in steps.items()]
    if not told and isinstance(sidecar.get("Method"), str):
        told = [f"inversion {sidecar['Method']}"]
    maker = _maker(sidecar)
    by, methods = f" by {maker}" if maker else "", f": {', '.join(told)}" if told else ""
    return f"Magnetic susceptibility (QSM){by}{methods}. Exported by dlqsm {full_version()}."


def _maker(sidecar: Mapping[str, Any]) -> str:
    """Program and version that made a map; empty where the sidecar does not tell."""
    software, generated = sidecar.get("Software"), sidecar.get("GeneratedBy")
    if isinstance(software, dict) and "dlqsm" in software:
        return f"dlqsm {software['dlqsm']}"
    if isinstance(generated, list) and generated and isinstance(generated[0], dict):
        return f"{generated[0].get('Name', '')} {generated[0].get('Version', '')}".strip()
    return ""


def series_of_map(
    chi_ppm: NDArray[np.float32], stacks: Sequence[Stack], *, number: int, description: str, derivation: str
) -> list[Dataset]:
    """Make one image a slice.

    Parameters
    ----------
    chi_ppm
        Susceptibility on the grid of the stacks, ``(column, row, slice)``.
    stacks
        Series that it was made of, all on one grid; patient, study and place are those of the first.
    number, description
        Of the new series.
    derivation
        How the map came about.
    """
    numbers, step_ppb = stored_numbers(chi_ppm)
    common = _common(stacks[0], number, description, derivation)
    _add_scale(common, step_ppb)
    images = []
    for index in range(numbers.shape[2]):
        sources = [source for stack in stacks for source in stack.sources[index]]
        image = Dataset()
        image.update(common)
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.file_meta.MediaStorageSOPClassUID = MRImageStorage
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid(prefix=None)
        image.InstanceNumber = index + 1
        _add_place(image, stacks[0], index)
        _add_sources(image, sources)
        image.PixelData = np.ascontiguousarray(numbers[:, :, index].T, dtype="<i2").tobytes()
        images.append(image)
    return images


def write_images(folder: Path, images: Sequence[Dataset]) -> list[Path]:
    """Write one file an image, each whole or not at all."""
    paths = [folder / f"IM{image.InstanceNumber:06d}.dcm" for image in images]
    for path, image in zip(paths, images, strict=True):
        with whole_file(path) as partial:
            image.save_as(partial, enforce_file_format=True)
    return paths


def _common(stack: Stack, number: int, description: str, derivation: str) -> Dataset:
    """What all images share: patient, study and scan of the reference, a series and a maker of its own."""
    now, image, head = datetime.now(), Dataset(), stack.head
    for name in _REQUIRED:
        value = _found(head, name)
        setattr(image, name, "" if value is None else value)
    for name in _WHERE_KNOWN:
        value = _found(head, name)
        if value not in (None, ""):
            setattr(image, name, [_plain(item) for item in value] if name.endswith("Sequence") else value)
    image.SOPClassUID, image.Modality = MRImageStorage, "MR"
    image.ImageType = ["DERIVED", "PRIMARY", "OTHER", "QSM"]
    image.ScanningSequence, image.SequenceVariant, image.EchoTime = *_sequence_of(head), None
    image.SeriesInstanceUID = generate_uid(prefix=None)
    image.SeriesNumber, image.SeriesDescription = number, description
    image.Manufacturer = image.ManufacturerModelName = "dlqsm"
    image.SoftwareVersions = full_version()
    image.DerivationDescription = derivation
    image.ImageComments = "Research use only, not for diagnosis"
    for prefix in ("InstanceCreation", "Content", "Series"):
        setattr(image, f"{prefix}Date", now.strftime("%Y%m%d"))
        setattr(image, f"{prefix}Time", now.strftime("%H%M%S"))
    image.ContributingEquipmentSequence = [_scanner(head)]
    image.BurnedInAnnotation = "NO"
    if _found(head, "LossyImageCompression"):
        image.LossyImageCompression = head.LossyImageCompression
    return image


def _plain(item: Dataset) -> Dataset:
    kept = Dataset()
    for name in _OF_ITEMS:
        if name in item:
            setattr(kept, name, item[name].value)
    return kept


def _add_scale(image: Dataset, step_ppb: float) -> None:
    """Stored numbers to ppb, once for viewers (rescale), once with quantity and unit as codes."""
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, 1
    image.RescaleSlope, image.RescaleIntercept, image.RescaleType = f"{step_ppb:g}", "0", "ppb"
    image.WindowCenter, image.WindowWidth = "0", str(_WINDOW_PPB)
    mapping = Dataset()
    mapping.RealWorldValueFirstValueMapped, mapping.RealWorldValueLastValueMapped = -_LARGEST, _LARGEST
    mapping["RealWorldValueFirstValueMapped"].VR = mapping["RealWorldValueLastValueMapped"].VR = "SS"
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = step_ppb, 0.0
    mapping.LUTExplanation, mapping.LUTLabel = "Magnetic susceptibility [ppb]", "CHI"
    mapping.MeasurementUnitsCodeSequence = [_code("[ppb]", "UCUM", "parts per billion")]
    quantity = Dataset()
    quantity.ValueType = "CODE"
    quantity.ConceptNameCodeSequence = [_code("246205007", "SCT", "Quantity")]
    quantity.ConceptCodeSequence = [_code("126396", "DCM", "Magnetic Susceptibility")]
    mapping.QuantityDefinitionSequence = [quantity]
    image.RealWorldValueMappingSequence = [mapping]


def _add_place(image: Dataset, stack: Stack, index: int) -> None:
    """Where a slice lies: in the numbers of the reference."""
    place, orientation = stack.positions[index], np.asarray(stack.orientation, dtype=np.float64)
    image.Columns, image.Rows = stack.grid.shape[:2]
    image.ImagePositionPatient, image.ImageOrientationPatient = _decimals(place), _decimals(stack.orientation)
    image.PixelSpacing = _decimals(stack.spacing)
    spacing_mm = f"{stack.grid.voxel_size_mm[2]:.6g}"
    image.SliceThickness, image.SpacingBetweenSlices = _found(stack.head, "SliceThickness") or spacing_mm, spacing_mm
    height_mm = float(np.asarray(place, dtype=np.float64) @ np.cross(orientation[:3], orientation[3:]))
    image.SliceLocation = f"{height_mm:.6g}"


def _decimals(values: Sequence[float]) -> list[DSfloat]:
    """Numbers in the sixteen characters that DICOM allows; some scanners write more."""
    return [DSfloat(float(value), auto_format=True) for value in values]


def _add_sources(image: Dataset, sources: Sequence[Source]) -> None:
    """The images that a slice was made of, once by themselves, once by series as archives look for them."""
    image.SourceImageSequence = [_reference(source, with_purpose=True) for source in sources]
    by_series: dict[str, dict[tuple[str, str], Dataset]] = {}
    for source in sources:
        instances = by_series.setdefault(source.series_uid, {})
        instances.setdefault((source.class_uid, source.instance_uid), _reference(source, with_purpose=False))
    image.ReferencedSeriesSequence = []
    for uid, instances in by_series.items():
        series = Dataset()
        series.SeriesInstanceUID, series.ReferencedInstanceSequence = uid, list(instances.values())
        image.ReferencedSeriesSequence.append(series)


def _reference(source: Source, *, with_purpose: bool) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.class_uid, source.instance_uid
    if with_purpose:
        if source.frame is not None:
            item.ReferencedFrameNumber = source.frame
        purpose = _code("121322", "DCM", "Source image for image processing operation")
        item.PurposeOfReferenceCodeSequence = [purpose]
    return item


def _scanner(head: Dataset) -> Dataset:
    """The machine that acquired the images; the maker of the series is dlqsm."""
    scanner = Dataset()
    for name in _SCANNER:
        if head.get(name):
            setattr(scanner, name, head[name].value)
    scanner.Manufacturer = scanner.get("Manufacturer", "unknown")
    scanner.PurposeOfReferenceCodeSequence = [_code("109101", "DCM", "Acquisition Equipment")]
    return scanner


def _sequence_of(head: Dataset) -> tuple[object, object]:
    """Scanning sequence and its variant, which enhanced images tell in other words."""
    if head.get("ScanningSequence"):
        return head.ScanningSequence, head.get("SequenceVariant") or "NONE"
    kind = {"GRADIENT": "GR", "SPIN": "SE"}.get(str(head.get("EchoPulseSequence", "")), "RM")
    return kind, "SP" if str(head.get("Spoiling", "NONE")) != "NONE" else "NONE"


def _found(head: Dataset, name: str) -> Any:
    """A value at the top of a header, or in the functional groups of the first frame; None where it is in neither."""
    if name in head:
        return head[name].value
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for element in (head.get(groups) or [Dataset()])[0]:
            if element.VR == "SQ" and not element.tag.is_private and element.value and name in element.value[0]:
                return element.value[0][name].value
    return None


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code
