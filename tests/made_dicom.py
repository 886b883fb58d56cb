"""Made-up DICOM of multi-echo scans: classic images of any vendor, or one enhanced file, with names not to leak."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

SHAPE = (12, 10, 6)
"""Columns, rows, slices."""
VOXEL_MM = (2.0, 2.0, 3.0)
SECRETS = ("Doe", "Jane", "HOSP-4711", "19810203", "ACC99887", "SN555123", "MRSTATION7", "Clinic of Elsewhere")
MR_IMAGE, ENHANCED_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
COSINES = [1.0, 0.0, 0.0, 0.0, 0.99, -0.14106735979665885]


@dataclass
class MadeSeries:
    """One series: ``parts`` to stored values ``(echo, x, y, z)``; the rest goes into the headers."""

    number: int = 5
    name: str = "gre_qsm"
    parts: dict[str, np.ndarray] = field(default_factory=dict)
    echo_times_ms: tuple[float, ...] = (4.0, 8.0, 12.0)
    vendor: str = "Philips"
    patient: str = "Doe^Jane"
    more: dict[str, Any] = field(default_factory=dict)


def stored_phase(n_echoes: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4096, (n_echoes, *SHAPE)).astype(np.uint16)


def stored_magnitude(n_echoes: int = 3, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 2000, (n_echoes, *SHAPE)).astype(np.uint16)


def stored_complex(n_echoes: int = 3, *, alternating: bool = False) -> np.ndarray:
    """Smooth complex images whose slices may alternate in sign."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    phase = np.stack([0.4 + (echo + 1) * (0.8 * x - 0.5 * y + 0.3 * z) for echo in range(n_echoes)])
    image = 1000 * (1.2 - 0.3 * x) * np.exp(1j * phase)
    return image * np.where(np.arange(SHAPE[2]) % 2, -1.0, 1.0) if alternating else image


def real_and_imaginary(image: np.ndarray) -> dict[str, np.ndarray]:
    return {"R": np.round(image.real).astype(np.int16), "I": np.round(image.imag).astype(np.int16)}


def both(n_echoes: int = 3) -> dict[str, np.ndarray]:
    return {"M": stored_magnitude(n_echoes), "P": stored_phase(n_echoes)}


def write_classic(folder: Path, series: MadeSeries) -> list[Path]:
    """One file an image."""
    folder.mkdir(parents=True, exist_ok=True)
    uid, written = generate_uid(), []
    for part, values in series.parts.items():
        for echo, volume in enumerate(values):
            for index in range(SHAPE[2]):
                image = _common(series, uid, MR_IMAGE)
                image.InstanceNumber = len(written) + 1
                image.ImageType = _image_type(series.vendor, part)
                image.EchoTime, image.EchoNumbers = series.echo_times_ms[echo], echo + 1
                image.ImagePositionPatient, image.SliceLocation = _position(index), float(index * VOXEL_MM[2])
                image.ImageOrientationPatient = COSINES
                image.PixelSpacing, image.SliceThickness = [VOXEL_MM[1], VOXEL_MM[0]], VOXEL_MM[2]
                image.SpacingBetweenSlices = VOXEL_MM[2]
                slope, intercept, kind = _rescale(series.vendor, part)
                image.RescaleSlope, image.RescaleIntercept = slope, intercept
                if kind:
                    image.RescaleType = kind
                _tell_component(image, series.vendor, part)
                image.PixelData = np.ascontiguousarray(volume[:, :, index].T).tobytes()
                for name, value in series.more.items():
                    setattr(image, name, value)
                written.append(_save(image, folder / f"IM{series.number:03d}{len(written):04d}"))
    return written


def write_enhanced(folder: Path, series: MadeSeries, component: dict[str, str] | None = None) -> Path:
    """All images as frames of one file; ``component`` overrides what the frames call a part."""
    folder.mkdir(parents=True, exist_ok=True)
    image = _common(series, generate_uid(), ENHANCED_MR_IMAGE)
    image.InstanceNumber = 1
    image.ImageType = ["ORIGINAL", "PRIMARY", "T1", "MIXED"]
    image.AcquisitionContrast, image.ComplexImageComponent = "T1", "MIXED"
    names = {"M": "MAGNITUDE", "P": "PHASE"} | (component or {})
    frames, pixels = [], []
    for part, values in series.parts.items():
        for echo, volume in enumerate(values):
            for index in range(SHAPE[2]):
                frames.append(_frame(series, part, names[part], echo, index))
                pixels.append(np.ascontiguousarray(volume[:, :, index].T))
    image.NumberOfFrames = len(frames)
    shared = Dataset()
    shared.MRTimingAndRelatedParametersSequence = Sequence([_dataset(RepetitionTime=30.0, FlipAngle=15.0)])
    image.SharedFunctionalGroupsSequence = Sequence([shared])
    pointers = ((0x00209056, 0x00209111), (0x00209057, 0x00209111), (0x00089208, 0x00189226), (0x00189082, 0x00189114))
    image.DimensionIndexSequence = Sequence(
        [_dataset(DimensionIndexPointer=a, FunctionalGroupPointer=b) for a, b in pointers]
    )
    image.PerFrameFunctionalGroupsSequence = Sequence(frames)
    image.PixelData = np.stack(pixels).tobytes()
    return _save(image, folder / f"enhanced{series.number}.dcm")


def _common(series: MadeSeries, series_uid: str, kind: str) -> Dataset:
    image = _dataset(
        SOPClassUID=kind, SOPInstanceUID=generate_uid(), Modality="MR", Manufacturer=series.vendor,
        ManufacturerModelName="Made up", PatientName=series.patient, PatientID="HOSP-4711",
        PatientBirthDate="19810203", PatientSex="F", PatientAge="041Y", AccessionNumber="ACC99887",
        DeviceSerialNumber="SN555123", StationName="MRSTATION7", InstitutionName="Clinic of Elsewhere",
        StudyInstanceUID="1.2.3.4", SeriesInstanceUID=series_uid, StudyID="S1", StudyDate="20220607",
        SeriesNumber=series.number, SeriesDescription=series.name, ProtocolName=series.name,
        StudyDescription="Jane Doe's head", MRAcquisitionType="3D", ScanningSequence="GR", SequenceVariant="SP",
        ScanOptions="", RepetitionTime=30.0, FlipAngle=15.0, MagneticFieldStrength=3.0, ImagingFrequency=127.75,
        PatientPosition="HFS", AcquisitionNumber=1, Rows=SHAPE[1], Columns=SHAPE[0], SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2", BitsAllocated=16, BitsStored=12, HighBit=11, PixelRepresentation=0,
        FrameOfReferenceUID="1.2.3.5", InPlanePhaseEncodingDirection="COL",
    )  # fmt: skip
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = kind
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    return image


def _frame(series: MadeSeries, part: str, component: str, echo: int, index: int) -> Dataset:
    slope, intercept, kind = _rescale(series.vendor, part)
    unit = _dataset(CodeValue=kind or "1", CodingSchemeDesignator="UCUM", CodeMeaning=kind or "none")
    frame = Dataset()
    frame.FrameContentSequence = Sequence(
        [_dataset(DimensionIndexValues=[1, index + 1, "MP".index(part) + 1, echo + 1], StackID="1",
                  InStackPositionNumber=index + 1, TemporalPositionIndex=1)]
    )  # fmt: skip
    frame.MREchoSequence = Sequence([_dataset(EffectiveEchoTime=series.echo_times_ms[echo])])
    kinds = ["ORIGINAL", "PRIMARY", "T1", component]
    frame.MRImageFrameTypeSequence = Sequence([_dataset(FrameType=kinds, ComplexImageComponent=component)])
    frame.PlanePositionSequence = Sequence([_dataset(ImagePositionPatient=_position(index))])
    frame.PlaneOrientationSequence = Sequence([_dataset(ImageOrientationPatient=COSINES)])
    frame.PixelMeasuresSequence = Sequence(
        [
            _dataset(
                PixelSpacing=[VOXEL_MM[1], VOXEL_MM[0]], SliceThickness=VOXEL_MM[2], SpacingBetweenSlices=VOXEL_MM[2]
            )
        ]
    )
    frame.PixelValueTransformationSequence = Sequence(
        [_dataset(RescaleIntercept=intercept, RescaleSlope=slope, RescaleType=kind or "US")]
    )
    frame.RealWorldValueMappingSequence = Sequence(
        [_dataset(RealWorldValueIntercept=float(intercept), RealWorldValueSlope=float(slope),
                  MeasurementUnitsCodeSequence=Sequence([unit]))]
    )  # fmt: skip
    return frame


def _tell_component(image: Dataset, vendor: str, part: str) -> None:
    """GE tells in a private tag what an image is; real and imaginary images have signed values of any vendor."""
    if vendor == "GE":
        block = image.private_block(0x0043, "GEMS_PARM_01", create=True)
        block.add_new(0x2F, "SS", "MPRI".index(part))
    if part in "RI":
        image.PixelRepresentation, image.BitsStored, image.HighBit = 1, 16, 15


def _image_type(vendor: str, part: str) -> list[str]:
    if vendor == "Philips":
        return (
            ["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"] if part == "P" else ["ORIGINAL", "PRIMARY", "M_FFE", "M"]
        )
    return ["ORIGINAL", "PRIMARY", "OTHER"] if vendor == "GE" else ["ORIGINAL", "PRIMARY", part, "ND"]


def _rescale(vendor: str, part: str) -> tuple[float, float, str]:
    """Slope, intercept and type of the stored values."""
    if part != "P":
        return 1.0, 0.0, ""
    return {"Philips": (6284 / 4095, -3142.0, "mrad"), "SIEMENS": (2.0, -4096.0, "US")}.get(vendor, (1.0, 0.0, ""))


def _position(index: int) -> list[float]:
    normal = np.cross(COSINES[:3], COSINES[3:])
    return [float(round(v, 6)) for v in np.array([-11.0, -9.0, -8.0]) + index * VOXEL_MM[2] * normal]


def _dataset(**values: Any) -> Dataset:
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def _save(image: Dataset, path: Path) -> Path:
    image.save_as(path, enforce_file_format=True)
    return path
