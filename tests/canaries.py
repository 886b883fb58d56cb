"""Words that identify somebody, planted in input of every form, and a search for them in every byte of the output."""

import base64
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
from PIL import Image, UnidentifiedImageError
from pydicom import dcmread
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

TEXT_TAGS = (
    "PatientID", "IssuerOfPatientID", "OtherPatientIDs", "PatientAddress", "PatientTelephoneNumbers", "MilitaryRank",
    "EthnicGroup", "Occupation", "AdditionalPatientHistory", "PatientComments", "PatientInsurancePlanCodeSequence",
    "AccessionNumber", "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "StationName",
    "DeviceSerialNumber", "DeviceID", "ReferringPhysicianAddress", "ReferringPhysicianTelephoneNumbers",
    "RequestedProcedureDescription", "RequestingService", "StudyDescription", "StudyID", "ImageComments",
    "AdmittingDiagnosesDescription", "PerformedProcedureStepID", "PerformedProcedureStepDescription",
    "PerformedStationName", "PerformedLocation", "ClinicalTrialSubjectID", "ClinicalTrialSiteName",
    "CurrentPatientLocation", "PatientInstitutionResidence", "GantryID", "CommentsOnThePerformedProcedureStep",
    "RequestAttributesSequence",
)  # fmt: skip
NAME_TAGS = (
    "PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "ReferringPhysicianName",
    "ConsultingPhysicianName", "PerformingPhysicianName", "PhysiciansOfRecord", "NameOfPhysiciansReadingStudy",
    "OperatorsName", "RequestingPhysician", "ResponsiblePerson", "PersonName",
)  # fmt: skip
SEQUENCES = (
    "PatientInsurancePlanCodeSequence", "RequestAttributesSequence", "OtherPatientIDsSequence",
    "ReferencedPatientSequence", "ProcedureCodeSequence",
)  # fmt: skip
DATES = {
    "PatientBirthDate": "19170203", "StudyDate": "20170911", "SeriesDate": "20170912", "AcquisitionDate": "20170913",
    "ContentDate": "20170914", "InstanceCreationDate": "20170915", "PerformedProcedureStepStartDate": "20170916",
    "DateOfLastCalibration": "20170917",
}  # fmt: skip
TIMES = {
    "StudyTime": "113717.171", "SeriesTime": "113727.171", "AcquisitionTime": "113737.171", "ContentTime": "113747.171",
    "PatientBirthTime": "113757.171", "InstanceCreationTime": "114707.171",
}  # fmt: skip
UIDS = {
    "StudyInstanceUID": "1.2.826.0.1.7171.1", "FrameOfReferenceUID": "1.2.826.0.1.7171.2",
    "DeviceUID": "1.2.826.0.1.7171.3", "SynchronizationFrameOfReferenceUID": "1.2.826.0.1.7171.4",
}  # fmt: skip
SERIES_UID = "1.2.826.0.1.7172"
MOMENT = "20170918113757.171"


def word_of(place: str) -> str:
    """A word that stands nowhere but where it was planted: letters alone, short enough for 16 characters."""
    return "Zq" + "".join(chr(ord("a") + (zlib.crc32(place.encode()) >> (4 * n)) % 16) for n in range(8)) + "Vx"


def plant_in_dicom(folder: Path) -> list[str]:
    """Fill every identifying tag of the images below a folder, nested and private ones too; return what was planted."""
    words = [word_of(tag) for tag in (*NAME_TAGS, *TEXT_TAGS)]
    words += [word_of("private"), word_of("nested private"), word_of("uid")]
    for number, path in enumerate(sorted(p for p in folder.rglob("*") if p.is_file())):
        image = dcmread(path)
        _fill(image)
        image.SeriesInstanceUID = f"{SERIES_UID}.{image.SeriesNumber}"
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.7173.{number}"
        image.file_meta.SourceApplicationEntityTitle = word_of("uid")
        image.save_as(path)
    return [*words, *DATES.values(), *TIMES.values(), *UIDS.values(), SERIES_UID, "1.2.826.0.1.7173", MOMENT]


def _fill(image: Dataset) -> None:
    for tag in NAME_TAGS:
        setattr(image, tag, f"{word_of(tag)}^Of")
    for tag in TEXT_TAGS:
        if tag not in SEQUENCES:
            setattr(image, tag, word_of(tag))
    for tag, value in {**DATES, **TIMES, **UIDS}.items():
        setattr(image, tag, value)
    image.AcquisitionDateTime = MOMENT
    for tag in SEQUENCES:
        item = Dataset()
        item.PatientID, item.RequestedProcedureID = word_of(tag), word_of(tag)
        item.PatientName = f"{word_of('PersonName')}^Of"
        item.ReferencedSOPInstanceUID = UIDS["StudyInstanceUID"]
        item.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "LO", word_of("nested private"))
        setattr(image, tag, Sequence([item]))
    image.private_block(0x0021, "SIEMENS MR SDI 02", create=True).add_new(0x01, "LO", word_of("private"))
    # People type who is scanned, and who scans, where the protocol has its name.
    image.SeriesDescription = f"gre {word_of('PatientName')} qsm"
    image.ProtocolName = f"gre_{word_of('PerformingPhysicianName')}"
    image.PulseSequenceName = f"gr_{word_of('OperatorsName')}"
    image.ReceiveCoilName = f"c {DATES['StudyDate']}"
    # Not as the standard has it: what a library says of such a value must not tell it.
    image[0x00102160] = DataElement(0x00102160, "SH", f"{word_of('EthnicGroup')} not short", validation_mode=IGNORE)
    image[0x00100032] = DataElement(0x00100032, "TM", word_of("PatientBirthTime"), validation_mode=IGNORE)
    image[0x00080090] = DataElement(0x00080090, "DA", word_of("ReferringPhysicianName"), validation_mode=IGNORE)


def plant_in_image(path: Path) -> list[str]:
    """Texts of a NIfTI header and an extension, of a file that is there; return what was planted."""
    words = {name: word_of(f"nifti {name}") for name in ("descrip", "aux_file", "intent_name", "extension")}
    image = nib.load(path)
    copy = nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header)
    for name in ("descrip", "aux_file", "intent_name"):
        copy.header[name] = words[name].encode()
    copy.header.extensions.append(nib.nifti1.Nifti1Extension("comment", words["extension"].encode()))
    copy.to_filename(path)
    return list(words.values())


def plant_in_sidecar(path: Path) -> list[str]:
    """Entries of a JSON that dcm2niix writes when asked for all; return what was planted."""
    about: dict[str, Any] = json.loads(path.read_text())
    names = (
        "PatientName", "PatientID", "AccessionNumber", "DeviceSerialNumber", "StationName", "InstitutionName",
        "InstitutionAddress", "ReferringPhysicianName", "OperatorsName", "SeriesDescription", "ProtocolName", "StudyID",
        "ProcedureStepDescription", "ImageComments", "ConsistencyInfo", "SequenceName", "PulseSequenceDetails",
    )  # fmt: skip
    planted = {name: word_of(f"json {name}") for name in names}
    planted |= {"PatientBirthDate": "1917-02-04", "AcquisitionDateTime": "2017-09-19T11:37:17.171000"}
    planted |= {"StudyInstanceUID": "1.2.826.0.1.7174.1", "AcquisitionTime": "11:38:17.171000"}
    path.write_text(json.dumps({**about, **planted, "Nested": {"PatientName": word_of("json nested")}}))
    return [*planted.values(), word_of("json nested")]


def plant_in_raw(source: Path, target: Path) -> list[str]:
    """A copy of ISMRMRD data that tells of whom, when and where, in its header, its clock and its attributes."""
    texts = {
        "subjectInformation": ("patientName", "patientID", "patientBirthdate", "patientGender"),
        "studyInformation": (
            "studyDate", "studyTime", "studyID", "accessionNumber", "referringPhysicianName", "studyDescription",
            "studyInstanceUID", "bodyPartExamined",
        ),
        "acquisitionSystemInformation": ("systemVendor", "systemModel", "institutionName", "stationName", "deviceID"),
        "measurementInformation": (
            "measurementID", "seriesDate", "seriesTime", "patientPosition", "protocolName", "seriesDescription",
            "seriesInstanceUIDRoot", "frameOfReferenceUID",
        ),
    }  # fmt: skip
    fixed = {
        "patientBirthdate": "1917-02-05", "studyDate": "2017-09-20", "studyTime": "11:39:17",
        "seriesDate": "2017-09-21", "seriesTime": "11:40:17", "patientGender": "O", "patientPosition": "HFS",
        "systemVendor": "somebody",
    }  # fmt: skip
    planted = {name: fixed.get(name, word_of(f"xml {name}")) for names in texts.values() for name in names}
    with h5py.File(source) as old, h5py.File(target, "w") as new:
        old.copy("dataset", new)
        text = new["dataset/xml"][0].decode()
        blocks = {
            block: f"<{block}>" + "".join(f"<{name}>{planted[name]}</{name}>" for name in names) + f"</{block}>"
            for block, names in texts.items()
        }
        inner = "".join(re.findall(r"(<receiverChannels>.*?</receiverChannels>)", text))
        field_t = "".join(re.findall(r"(<systemFieldStrength_T>.*?</systemFieldStrength_T>)", text))
        system = blocks["acquisitionSystemInformation"].replace(
            "<institutionName>", f"{field_t}{inner}<institutionName>"
        )
        text = re.sub(r"<acquisitionSystemInformation>.*?</acquisitionSystemInformation>", "", text, flags=re.S)
        before = "".join(blocks[name] for name in ("subjectInformation", "studyInformation", "measurementInformation"))
        text = text.replace("<experimentalConditions>", f"{before}{system}<experimentalConditions>")
        notes = f"<userParameterString><name>note</name><value>{word_of('xml user')}</value></userParameterString>"
        text = text.replace("</userParameters>", f"{notes}</userParameters>")
        del new["dataset/xml"]
        new["dataset"].create_dataset("xml", (1,), dtype=h5py.special_dtype(vlen=bytes))[0] = text.encode()
        new.attrs["converted_by"] = word_of("hdf5 attribute")
        new["dataset/data"].attrs["patient"] = word_of("hdf5 attribute")
        records = new["dataset/data"][:]
        records["head"]["acquisition_time_stamp"] = 0x5A717171
        new["dataset/data"][:] = records
    kept = {"patientGender", "patientPosition", "systemVendor"}
    words = [value for name, value in planted.items() if name not in kept]
    return [*words, word_of("xml user"), word_of("hdf5 attribute"), (0x5A717171).to_bytes(4, "little").decode("latin1")]


def leaks(words: Iterable[str], *places: Path, told: str = "") -> list[str]:
    """Which words stand in files below the places, in their names or in what was told; empty where none does."""
    found = [f"told: {word}" for word in words if word.lower() in told.lower()]
    for place in places:
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            name = path.relative_to(place).as_posix().lower() if path != place else path.name.lower()
            found += [f"name of {name}: {word}" for word in words if word.lower() in name]
            if path.is_file():
                views = [view.lower() for view in _views(path.read_bytes())]
                found += [f"{name}: {word}" for word in words if any(_bytes_in(word, view) for view in views)]
    return found


def _bytes_in(word: str, view: bytes) -> bool:
    return any(form in view for form in (word.lower().encode("latin1"), word.lower().encode("utf-16-le")))


def _views(content: bytes) -> Iterator[bytes]:
    """A file as it is, and what is packed in it."""
    yield content
    if content[:2] == b"\x1f\x8b":
        yield gzip.decompress(content)
    if content[:4] in (b"\x89PNG", b"RIFF"):
        yield from _picture_texts(content)
    for packed in re.findall(rb"data:image/[a-z+]+;base64,([A-Za-z0-9+/=]+)", content):
        yield from _views(base64.b64decode(packed))


def _picture_texts(content: bytes) -> Iterator[bytes]:
    try:
        picture = Image.open(io.BytesIO(content))
        picture.load()
    except UnidentifiedImageError:
        return
    yield repr(picture.info).encode()
    yield repr(dict(picture.getexif())).encode()
