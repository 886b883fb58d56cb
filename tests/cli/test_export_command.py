"""`dlqsm export`: dcm2niix gives the map back, the series belongs to the person and the place of the scan."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import dcm2niix
import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dlqsm.cli import main
from dlqsm.io.version import full_version
from made_dicom import SHAPE, MadeSeries, both, write_classic, write_enhanced

Refused = Callable[..., str]
STEP_PPM = 1e-4
MANDATORY = (
    "PatientName PatientID PatientBirthDate PatientSex StudyInstanceUID StudyDate StudyTime ReferringPhysicianName "
    "StudyID AccessionNumber Modality SeriesInstanceUID SeriesNumber FrameOfReferenceUID PositionReferenceIndicator "
    "Manufacturer InstanceNumber ContentDate ContentTime ImageType SamplesPerPixel PhotometricInterpretation Rows "
    "Columns BitsAllocated BitsStored HighBit PixelRepresentation PixelData PixelSpacing ImageOrientationPatient "
    "ImagePositionPatient SliceThickness ScanningSequence SequenceVariant ScanOptions MRAcquisitionType EchoTime "
    "EchoTrainLength RepetitionTime SOPClassUID SOPInstanceUID"
)
"""Attributes of types 1 and 2 of the MR Image object, PS3.3 A.4.3."""


def dcm2niix_of(folder: Path, out: Path) -> nib.Nifti1Image:
    out.mkdir()
    subprocess.run([dcm2niix.bin, "-z", "n", "-f", "%s", "-o", out, folder], check=True, capture_output=True)
    images = sorted(out.glob("*.nii"))
    return nib.load(images[0])


def save_map(path: Path, like: nib.Nifti1Image, scale: float = 0.1) -> np.ndarray:
    values = np.random.default_rng(3).normal(0, scale, like.shape[:3]).astype(np.float32)
    nib.save(nib.Nifti1Image(values, like.affine), path)
    return values


def export(*words: object) -> None:
    assert main(["export", *map(str, words), "--quiet"]) == 0


def images_of(folder: Path) -> list[Dataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """DICOM of one scan as three vendors write it, and as one enhanced file, each with a map on its grid."""
    root = tmp_path_factory.mktemp("scans")
    for vendor in ("Philips", "SIEMENS", "GE MEDICAL SYSTEMS"):
        write_classic(root / vendor.split()[0], MadeSeries(parts=both(), vendor=vendor))
    write_enhanced(root / "enhanced", MadeSeries(parts=both()))
    for name in ("Philips", "SIEMENS", "GE", "enhanced"):
        save_map(root / f"{name}.nii.gz", dcm2niix_of(root / name, root / f"nifti-{name}"))
    return {path.name: path for path in root.iterdir()}


@pytest.mark.parametrize("name", ["Philips", "SIEMENS", "GE", "enhanced"])
def test_dcm2niix_gives_the_map_back(scans: dict[str, Path], tmp_path: Path, name: str) -> None:
    export(scans[f"{name}.nii.gz"], scans[name], tmp_path / "out")
    chi, back = nib.load(scans[f"{name}.nii.gz"]), dcm2niix_of(tmp_path / "out", tmp_path / "back")
    assert np.abs(back.affine - chi.affine).max() < 1e-4
    assert np.abs(back.get_fdata() / 1e3 - chi.get_fdata()).max() < 0.51 * STEP_PPM
    assert len(images_of(tmp_path / "out")) == SHAPE[2]


def test_pixels_lie_where_those_of_the_scan_lie(scans: dict[str, Path], tmp_path: Path) -> None:
    """The magnitude of an echo as a map of 0.1 ppb a unit: its stored numbers are those of the scan."""
    (file,) = scans["nifti-Philips"].glob("*_e2.nii")
    magnitude = nib.load(file)
    nib.save(nib.Nifti1Image(magnitude.get_fdata() * STEP_PPM, magnitude.affine), tmp_path / "chi.nii.gz")
    export(tmp_path / "chi.nii.gz", scans["Philips"], tmp_path / "out")
    scan = [i for i in images_of(scans["Philips"]) if i.EchoNumbers == 2 and "M" in i.ImageType]
    stored = {tuple(image.ImagePositionPatient): image.pixel_array for image in scan}
    for image in images_of(tmp_path / "out"):
        place = min(stored, key=lambda p, own=image.ImagePositionPatient: np.abs(np.subtract(p, own)).max())
        assert np.allclose(place, image.ImagePositionPatient, atol=1e-6)
        assert np.array_equal(image.pixel_array, stored[place])


def test_axes_of_the_map_do_not_matter(scans: dict[str, Path], tmp_path: Path) -> None:
    chi = nib.load(scans["Philips.nii.gz"])
    turned = chi.as_reoriented(nib.orientations.axcodes2ornt(("S", "L", "P")))
    assert turned.shape != chi.shape
    nib.save(turned, tmp_path / "turned.nii.gz")
    for word in ("Philips", "turned"):
        source = scans["Philips.nii.gz"] if word == "Philips" else tmp_path / "turned.nii.gz"
        export(source, scans["Philips"], tmp_path / word)
    pairs = zip(images_of(tmp_path / "Philips"), images_of(tmp_path / "turned"), strict=True)
    assert all(a.PixelData == b.PixelData and a.ImagePositionPatient == b.ImagePositionPatient for a, b in pairs)


@pytest.mark.parametrize("name", ["Philips", "enhanced"])
def test_the_series_belongs_to_the_scan(scans: dict[str, Path], tmp_path: Path, name: str) -> None:
    export(scans[f"{name}.nii.gz"], scans[name], tmp_path / "out")
    images, (scan, *_) = images_of(tmp_path / "out"), images_of(scans[name])
    for word in (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "StudyInstanceUID",
        "FrameOfReferenceUID",
        "StudyDate",
    ):
        assert {str(image[word].value) for image in images} == {str(scan[word].value)}
    assert len({image.SeriesInstanceUID for image in images} - {scan.SeriesInstanceUID}) == 1
    assert len({image.SOPInstanceUID for image in images}) == len(images)
    assert {image.SeriesNumber for image in images} == {scan.SeriesNumber + 1000}
    for image in images:
        assert [word for word in MANDATORY.split() if word not in image] == []
        assert image.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID
        assert list(image.ImageType)[:2] == ["DERIVED", "PRIMARY"]
        assert image.ScanningSequence in ("GR", "RM")
        scanner = image.ContributingEquipmentSequence[0]
        assert (image.Manufacturer, scanner.Manufacturer) == ("dlqsm", "Philips")
        image.walk(_check_values)


def _check_values(dataset: Dataset, element: pydicom.DataElement) -> None:
    """Every value is one that its kind allows."""
    del dataset
    if element.VR != "SQ" and element.keyword != "PixelData":
        pydicom.DataElement(element.tag, element.VR, element.value, validation_mode=pydicom.config.RAISE)


@pytest.mark.parametrize(("charset", "name"), [("ISO_IR 100", "Müller^Jörg"), ("ISO_IR 192", "王^小東")])
def test_names_keep_their_letters(scans: dict[str, Path], tmp_path: Path, charset: str, name: str) -> None:
    more = {"SpecificCharacterSet": charset}
    write_classic(tmp_path / "scan", MadeSeries(parts=both(), patient=name, more=more))
    for file in (tmp_path / "scan").iterdir():
        image = pydicom.dcmread(file)
        image.PatientName = name
        image.save_as(file)
    export(scans["Philips.nii.gz"], tmp_path / "scan", tmp_path / "out")
    assert {str(image.PatientName) for image in images_of(tmp_path / "out")} == {name}


def test_numbers_have_quantity_and_unit(scans: dict[str, Path], tmp_path: Path) -> None:
    export(scans["Philips.nii.gz"], scans["Philips"], tmp_path / "out")
    image = images_of(tmp_path / "out")[0]
    (mapping,) = image.RealWorldValueMappingSequence
    unit, quantity = mapping.MeasurementUnitsCodeSequence[0], mapping.QuantityDefinitionSequence[0]
    assert (unit.CodeValue, unit.CodingSchemeDesignator) == ("[ppb]", "UCUM")
    assert quantity.ConceptCodeSequence[0].CodeMeaning == "Magnetic Susceptibility"
    assert (image.PixelRepresentation, image.RescaleType, float(image.RescaleSlope)) == (1, "ppb", 0.1)
    assert mapping.RealWorldValueSlope == float(image.RescaleSlope)
    assert mapping.RealWorldValueFirstValueMapped < 0 < mapping.RealWorldValueLastValueMapped


@pytest.mark.parametrize("name", ["Philips", "enhanced"])
def test_each_slice_names_the_images_it_was_made_of(scans: dict[str, Path], tmp_path: Path, name: str) -> None:
    export(scans[f"{name}.nii.gz"], scans[name], tmp_path / "out")
    places = {}
    for scan in images_of(scans[name]):
        for number, frame in enumerate(scan.get("PerFrameFunctionalGroupsSequence", [scan]), 1):
            place = frame.PlanePositionSequence[0] if "PlanePositionSequence" in frame else frame
            key = (scan.SOPInstanceUID, number if place is not frame else None)
            places[key] = list(place.ImagePositionPatient)
    named = []
    for image in images_of(tmp_path / "out"):
        keys = [(s.ReferencedSOPInstanceUID, s.get("ReferencedFrameNumber")) for s in image.SourceImageSequence]
        assert len(keys) == 6
        assert all(places[key] == list(image.ImagePositionPatient) for key in keys)
        instances = [i for s in image.ReferencedSeriesSequence for i in s.ReferencedInstanceSequence]
        assert {i.ReferencedSOPInstanceUID for i in instances} == {uid for uid, _ in keys}
        named += keys
    assert sorted(named, key=str) == sorted(places, key=str)


def test_series_beside_each_other_are_all_sources(tmp_path: Path) -> None:
    parts = both(1)
    for number, part in ((5, "M"), (6, "P")):
        write_classic(tmp_path / "scan" / part, MadeSeries(number, parts={part: parts[part]}))
    write_classic(
        tmp_path / "scan" / "localizer", MadeSeries(1, parts={"M": parts["M"]}, more={"PixelSpacing": [5, 5]})
    )
    save_map(tmp_path / "chi.nii.gz", dcm2niix_of(tmp_path / "scan" / "P", tmp_path / "nifti"))
    export(tmp_path / "chi.nii.gz", tmp_path / "scan", tmp_path / "out")
    image = images_of(tmp_path / "out")[0]
    assert (len(image.SourceImageSequence), len(image.ReferencedSeriesSequence)) == (2, 2)
    assert image.SeriesNumber == 1005
    words = ["--series", 6, "--series-number", 77, "--description", "chi", "--overwrite"]
    export(tmp_path / "chi.nii.gz", tmp_path / "scan", tmp_path / "out", *words)
    image = images_of(tmp_path / "out")[0]
    assert (len(image.SourceImageSequence), image.SeriesNumber, image.SeriesDescription) == (1, 77, "chi")


@pytest.mark.parametrize(
    ("sidecar", "told"),
    [
        (
            {"DipoleInversion": {"method": "l1"}, "Unwrapping": {"method": "spun"}, "Software": {"dlqsm": "0.1.0+g1"}},
            "Magnetic susceptibility (QSM) by dlqsm 0.1.0+g1: unwrapping spun, inversion l1.",
        ),
        (
            {"GeneratedBy": [{"Name": "other", "Version": "2"}], "DipoleInversion": {"method": "tv"}},
            "Magnetic susceptibility (QSM) by other 2: inversion tv.",
        ),
        ({"GeneratedBy": "x", "DipoleInversion": "y"}, "Magnetic susceptibility (QSM)."),
        ({"Method": "tkd", "Units": "ppm"}, "Magnetic susceptibility (QSM): inversion tkd."),
        (None, "Magnetic susceptibility (QSM)."),
    ],
)
def test_the_derivation_is_that_of_the_sidecar(
    scans: dict[str, Path], tmp_path: Path, sidecar: object, told: str
) -> None:
    shutil.copy(scans["Philips.nii.gz"], tmp_path / "chi.nii.gz")
    if sidecar is not None:
        (tmp_path / "chi.json").write_text(json.dumps(sidecar))
    export(tmp_path / "chi.nii.gz", scans["Philips"], tmp_path / "out")
    image = images_of(tmp_path / "out")[0]
    assert image.DerivationDescription == f"{told} Exported by dlqsm {full_version()}."


def test_a_map_of_large_values_gets_coarser_steps(scans: dict[str, Path], tmp_path: Path) -> None:
    values = save_map(tmp_path / "chi.nii.gz", nib.load(scans["Philips.nii.gz"]), scale=2.0)
    values[0, 0, 0] = np.nan
    nib.save(nib.Nifti1Image(values, nib.load(scans["Philips.nii.gz"]).affine), tmp_path / "chi.nii.gz")
    export(tmp_path / "chi.nii.gz", scans["Philips"], tmp_path / "out")
    assert float(images_of(tmp_path / "out")[0].RescaleSlope) == 1.0
    back = dcm2niix_of(tmp_path / "out", tmp_path / "back").get_fdata() / 1e3
    assert np.abs(back - np.nan_to_num(values)).max() < 0.51e-3
    assert back[0, 0, 0] == 0


def test_what_export_refuses(scans: dict[str, Path], tmp_path: Path, refused: Refused) -> None:
    chi, scan, out = scans["Philips.nii.gz"], scans["Philips"], tmp_path / "out"
    image = nib.load(chi)
    assert "no such file" in refused("export", tmp_path / "x.nii", scan, out)
    assert "no such file or folder" in refused("export", chi, tmp_path / "absent", out)
    assert "64 characters" in refused("export", chi, scan, out, "--description", "x" * 65)
    assert "backslash" in refused("export", chi, scan, out, "--description", "a\\b")
    assert "2147483647 at most" in refused("export", chi, scan, out, "--series-number", 2**31)
    assert "holds no series 9; --series can be of 5" in refused("export", chi, scan, out, "--series", 9)
    nib.save(nib.Nifti1Image(image.get_fdata()[:-1], image.affine), tmp_path / "small.nii.gz")
    said = refused("export", tmp_path / "small.nii.gz", scan, out)
    assert "(11, 10, 6) voxels" in said and "(12, 10, 6) voxels of 2 x 2 x 3 mm" in said
    moved = image.affine.copy()
    moved[:3, 3] += 1.0
    nib.save(nib.Nifti1Image(image.get_fdata(), moved), tmp_path / "moved.nii.gz")
    assert "grid of no series" in refused("export", tmp_path / "moved.nii.gz", scan, out)
    nib.save(nib.Nifti1Image(image.get_fdata() * 1e3, image.affine), tmp_path / "ppb.nii.gz")
    assert "looks like ppb" in refused("export", tmp_path / "ppb.nii.gz", scan, out)
    one_voxel = 40.0 * (np.arange(image.get_fdata().size).reshape(image.shape) == 0)
    nib.save(nib.Nifti1Image(one_voxel + image.get_fdata(), image.affine), tmp_path / "spike.nii.gz")
    assert "in ppm; the largest value is" in refused("export", tmp_path / "spike.nii.gz", scan, out)
    shutil.copy(chi, tmp_path / "field.nii.gz")
    (tmp_path / "field.json").write_text('{"Units": "Hz"}')
    assert "is in Hz" in refused("export", tmp_path / "field.nii.gz", scan, out)
    shutil.copytree(scan, tmp_path / "two" / "a")
    write_classic(tmp_path / "two" / "b", MadeSeries(7, parts=both(), more={"StudyInstanceUID": "1.2.9"}))
    assert "several studies" in refused("export", chi, tmp_path / "two", out)
    shutil.copytree(scan, tmp_path / "gap")
    for file in (tmp_path / "gap").iterdir():
        if pydicom.dcmread(file).SliceLocation == 6.0:
            file.unlink()
    assert "unevenly" in refused("export", chi, tmp_path / "gap", out)
    write_classic(tmp_path / "nowhere", MadeSeries(parts=both(), more={"FrameOfReferenceUID": ""}))
    assert "has no FrameOfReferenceUID" in refused("export", chi, tmp_path / "nowhere", out)
    assert not out.exists()
    export(chi, scan, out)
    assert "--overwrite" in refused("export", chi, scan, out)


@pytest.mark.parametrize("form", ["classic", "enhanced"])
def test_a_philips_head(shared_data: Path, tmp_path: Path, form: str) -> None:
    scan = shared_data / "philips_dual_echo"
    like = nib.load(scan / "nifti" / "2001_WIP_fcMRI_Field_Mapping_cl_e1.nii.gz")
    values = save_map(tmp_path / "chi.nii.gz", like)
    export(tmp_path / "chi.nii.gz", scan / f"dicom_{form}", tmp_path / "out")
    back = dcm2niix_of(tmp_path / "out", tmp_path / "back")
    assert np.abs(back.affine - like.affine).max() < 1e-4
    assert np.abs(back.get_fdata() / 1e3 - values).max() < 0.51 * STEP_PPM
    images = images_of(tmp_path / "out")
    assert len(images) == 53
    assert {len(image.SourceImageSequence) for image in images} == {4}
    assert {image.StudyInstanceUID for image in images} == {"1.3.46.670589.11.45053.5.0.19272.2021090212181635000"}
