"""BIDS datasets that lack something, contradict themselves, or would lead out of their folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from malformed_case import Case
from small_inputs import RUN, SHAPE, cut, dataset, image, phase_of, write_text

TITLE = "BIDS datasets"
_ANAT = "IN/bids/sub-01/anat"
_NAME = "sub-01_acq-PI2_echo-{}_part-{}_MEGRE.nii.gz"


def _moved(echo: int, part: str, to: str, folder_to: str = "sub-01/anat") -> Any:
    """A dataset in which one image has another name."""

    def make(folder: Path) -> None:
        root = dataset(folder)
        target = root / folder_to / to
        target.parent.mkdir(parents=True, exist_ok=True)
        (root / "sub-01/anat" / _NAME.format(echo, part)).rename(target)

    return make


def _people(table: str) -> Any:
    return lambda folder: write_text(dataset(folder) / "participants.tsv", table)


def _about(text: str) -> Any:
    return lambda folder: write_text(dataset(folder) / "dataset_description.json", text)


def _spoilt(spoil: Any, echo: int = 2, part: str = "phase") -> Any:
    """A dataset in which one image is spoilt."""
    return lambda folder: spoil(dataset(folder) / "sub-01/anat" / _NAME.format(echo, part))


def _filters(content: Any) -> Any:
    return lambda folder: dataset(folder) and write_text(folder / "filter.json", json.dumps(content))


def _one_file(folder: Path) -> None:
    """All echoes in one file, as sites without BIDS keep them."""
    root = folder / "bids"
    write_text(root / "dataset_description.json", json.dumps({"Name": "small", "BIDSVersion": "1.11.0"}))
    image(root / "sub-01/anat/sub-01_part-phase_MEGRE.nii.gz", phase_of(*SHAPE, 3))


def _coil_beside_combined(folder: Path) -> None:
    root = dataset(folder)
    image(root / "sub-01/anat/sub-01_acq-PI2_coil-01_echo-1_part-mag_MEGRE.nii.gz", phase_of(*SHAPE))


def _link_loop(folder: Path) -> None:
    root = folder / "bids"
    root.mkdir()
    (root / "sub-01").symlink_to("sub-01")


def _other_times(folder: Path) -> None:
    root = dataset(folder)
    told = {"EchoTime": 0.004, "MagneticFieldStrength": 3.0, "Units": "rad"}
    for part in ("mag", "phase"):
        write_text(root / "sub-01/anat" / _NAME.format(2, part).replace(".nii.gz", ".json"), json.dumps(told))


_OF_ONE = "sub-01: PI2: "

CASES = (
    Case("bids_missing", "a dataset that is not there", lambda f: None, RUN,
         "IN/bids: expected the folder of a BIDS dataset; there is no such folder"),
    Case("bids_file", "a file in the place of a dataset", lambda f: write_text(f / "bids", "text"), RUN,
         "IN/bids: expected the folder of a BIDS dataset; there is no such folder"),
    Case("bids_empty", "a folder without participants", lambda f: (f / "bids").mkdir(), RUN,
         "IN/bids: expected a BIDS dataset with folders sub-*; there is none"),
    Case("bids_link_loop", "a participant that is a link to itself", _link_loop, RUN,
         "IN/bids: expected a BIDS dataset with folders sub-*; there is none"),
    Case("bids_derivatives", "derivatives in the place of scans", _about('{"Name": "x", "DatasetType": "derivative"}'),
         RUN,
         "IN/bids/dataset_description.json: says that this is a dataset of derivatives; expected one of scans: give "
         "its folder, or --skip-bids-validation if these images are scans", pain=24),
    Case("bids_description", "a description that is no JSON", _about("{Name: small}"), RUN,
         "IN/bids/dataset_description.json: expected JSON, but it cannot be read (…)"),
    Case("bids_no_images", "a participant without multi-echo images",
         lambda f: (f / "bids/sub-01/anat").mkdir(parents=True), RUN,
         "IN/bids: no participant has multi-echo data; expected sourcedata/sub-*/anat/*_MEGRE.h5 (raw) or "
         "sub-*/anat/*_echo-*_part-*_MEGRE.nii.gz (images)"),
    Case("bids_path_traversal", "a participant named sub-../x", _people("participant_id\nsub-../../etc\n"), RUN,
         "IN/bids/participants.tsv: lists the participant 'sub-../../etc'; expected sub- and letters and digits, as "
         "its folder"),
    Case("bids_path_option", "a participant asked for as ../x", dataset, f"{RUN} --participant-label ../../etc",
         "IN/bids: has no multi-echo data of participant sub-../../etc; it has sub-01"),
    Case("bids_bad_folder", "a folder name with a space", lambda f: dataset(f, "sub-0 1"), RUN,
         "IN/bids/sub-0 1: is no name of a participant's folder; expected sub- and letters and digits: rename it"),
    Case("bids_unnamed", "a participant without a name", _people("participant_id\tage\nn/a\t40\n"), RUN,
         "IN/bids/participants.tsv: has a row without participant_id; fill it in or remove the row"),
    Case("bids_people_twice", "a participant listed twice", _people("participant_id\nsub-01\nsub-01\n"), RUN,
         "IN/bids/participants.tsv: lists sub-01 more than once; expected one row a participant"),
    Case("bids_age", "an age in words", _people("participant_id\tage\nsub-01\tforty\n"), RUN,
         "IN/bids/participants.tsv: the age of sub-01 is no number; expected years, or n/a"),
    Case("bids_no_column", "participants without participant_id", _people("name\tage\nsub-01\t40\n"), RUN,
         "IN/bids/participants.tsv: has no column participant_id; it has name, age"),
    Case("bids_reference", "a reference arm that nobody has", dataset, f"{RUN} --reference PI3",
         "no participant has the reference arm 'PI3'; choose one of PI2"),
    Case("bids_onto_itself", "results into the dataset itself", dataset, RUN.replace("OUT", "IN/bids"),
         "IN/bids: is the dataset itself; give another folder for OUT, such as derivatives/dlqsm in it"),
    Case("bids_filter_entity", "a filter of an entity that BIDS does not have", _filters({"megre": {"scanner": "A"}}),
         f"{RUN} --bids-filter-file IN/filter.json",
         "IN/filter.json: 'scanner' in the filter of megre is no entity of BIDS; expected one of subject, session, "
         "acquisition, ceagent, reconstruction, direction, modality, inversion, processing, resolution, density, "
         "description, segmentation, sample, task, run, echo, flip, mt, part, space, split, chunk, atlas, scale, "
         "label, coil"),
    Case("bids_filter_kind", "a filter of no image that is used", _filters({"bold": {"task": "rest"}}),
         f"{RUN} --bids-filter-file IN/filter.json",
         "IN/filter.json: has a filter neither of megre nor of t1w; it has bold", pain=23),
    Case("bids_no_echo_entity", "all echoes in one file", _one_file, RUN, "sub-01: MEGRE: "
         f"{_ANAT}/sub-01_part-phase_MEGRE.nii.gz: its name has no echo-N; MEGRE images are one file an echo", 1, 24),
    Case("bids_missing_phase", "an echo without its phase",
         _spoilt(lambda p: p.unlink()), RUN,
         "sub-01: PI2: IN/bids/sub-01/anat: echo 2 has no part-phase image beside "
         "sub-01_acq-PI2_echo-1_part-mag_MEGRE.nii.gz; every echo from 1 on needs both", 1, 8),
    Case("bids_echo_text", "an echo that is no number", _moved(2, "phase", _NAME.format("two", "phase")), RUN,
         "sub-01: PI2: IN/bids/sub-01/anat/sub-01_acq-PI2_echo-two_part-phase_MEGRE.nii.gz: 'echo-two' in its name "
         "must be a whole number, as in echo-1; got 'two'", 1),
    Case("bids_order", "entities out of order",
         _moved(2, "phase", "sub-01_echo-2_acq-PI2_part-phase_MEGRE.nii.gz"), RUN,
         f"{_OF_ONE}{_ANAT}/sub-01_echo-2_acq-PI2_part-phase_MEGRE.nii.gz: the entities of its name are out of order; "
         f"expected {_NAME.format(2, 'phase')}", 1),
    Case("bids_other_name", "an image of another participant",
         _moved(2, "phase", "sub-02_acq-PI2_echo-2_part-phase_MEGRE.nii.gz"), RUN,
         "sub-01: PI2: IN/bids/sub-01/anat/sub-02_acq-PI2_echo-2_part-phase_MEGRE.nii.gz: lies in a folder of "
         "sub-01, but its name says sub-02; rename or move it", 1),
    Case("bids_twice", "an image twice",
         lambda f: image(dataset(f) / "sub-01/anat" / _NAME.format(2, "phase").removesuffix(".gz"), phase_of(*SHAPE)),
         RUN, f"{_OF_ONE}{_ANAT}/{_NAME.format(2, 'phase')}: is there twice, as "
         f"{_NAME.format(2, 'phase').removesuffix('.gz')} too; keep one of them", 1),
    Case("bids_coils_mixed", "an image of one coil beside combined ones", _coil_beside_combined, RUN,
         "sub-01: PI2: IN/bids/sub-01/anat/sub-01_acq-PI2_echo-1_part-mag_MEGRE.nii.gz: has no coil-N, as the other "
         "images of its arm have; give combined images another rec- label", 1, 3),
    Case("bids_image_cut", "an image that is cut short", _spoilt(cut), RUN,
         f"{_OF_ONE}{_ANAT}/{_NAME.format(2, 'phase')}: expected a whole NIfTI file, but it cannot be read (…)", 1),
    Case("bids_missing_slice", "an echo with a slice less",
         _spoilt(lambda p: image(p, phase_of(10, 9, 7))), RUN,
         f"{_OF_ONE}{_ANAT}/{_NAME.format(2, 'phase')}: has shape (10, 9, 7); expected (10, 9, 8), the shape of "
         f"{_ANAT}/{_NAME.format(1, 'phase')}", 1, 8),
    Case("bids_times_equal", "two echoes of one echo time", _other_times, RUN,
         f"{_OF_ONE}{_ANAT}/{_NAME.format(1, 'phase')}: two echoes have one EchoTime in their sidecars ([0.004, 0.004] "
         "s)", 1, 8),
    Case("bids_constant", "phase of zeros",
         _spoilt(lambda p: image(p, np.zeros(SHAPE, np.float32))), RUN,
         "sub-01: PI2: IN/bids/sub-01/anat/sub-01_acq-PI2_echo-2_part-phase_MEGRE.nii.gz: the phase is 0 in every "
         "voxel; expected wrapped phase images", 1,
         2),
)  # fmt: skip
