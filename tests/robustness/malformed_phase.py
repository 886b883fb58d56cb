"""Echo images whose phase, echo times or headers cannot be used, and their sidecars."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from malformed_case import Case
from small_inputs import (
    QSM,
    QSM_OF_RECON,
    SHAPE,
    echo_images,
    image,
    magnitude_of,
    phase_of,
    recon,
    sidecar,
    single_step,
    write_text,
)

TITLE = "Phase, echo times and sidecars"
_UNWRAP = "unwrap IN/field.nii.gz OUT.nii.gz --quiet --mask IN/mask.nii.gz"


def _told(**changes: Any) -> Any:
    """Echo images with entries of the phase's sidecar changed."""
    return lambda folder: echo_images(folder) or sidecar(folder, **changes)


def _json(text: str, encoding: str = "utf-8") -> Any:
    """Echo images with a sidecar of this text."""
    return lambda folder: echo_images(folder) or (folder / "phase.json").write_bytes(text.encode(encoding))


def _phase(values: np.ndarray, **changes: Any) -> Any:
    def make(folder: Path) -> None:
        echo_images(folder)
        image(folder / "phase.nii.gz", values)
        sidecar(folder, **changes)

    return make


def _echo_files(
    folder: Path, *, shapes: tuple[Any, ...] = (SHAPE, SHAPE), times: tuple[Any, ...] = (0.004, 0.008)
) -> None:
    """One file an echo; the magnitude has sidecars too."""
    for number, (shape, time) in enumerate(zip(shapes, times, strict=True), 1):
        for part, values in (("m", magnitude_of(*shape)), ("p", phase_of(*shape))):
            image(folder / f"{part}{number}.nii.gz", values)
            told = {"Units": "rad", "EchoTime": time, "MagneticFieldStrength": 3.0}
            write_text(folder / f"{part}{number}.json", json.dumps(told))


def _swapped(folder: Path) -> None:
    """Magnitude given as phase and phase as magnitude."""
    image(folder / "magnitude.nii.gz", phase_of(*SHAPE, 3))
    image(folder / "phase.nii.gz", magnitude_of(*SHAPE, 3) / 30)
    sidecar(folder)


def _scan(**changes: Any) -> Any:
    """dlqsm recon's folder with entries of scan.json changed."""

    def make(folder: Path) -> None:
        file = recon(folder) / "scan.json"
        write_text(file, json.dumps(json.loads(file.read_text()) | changes))

    return make


def _scan_text(text: str) -> Any:
    return lambda folder: write_text(recon(folder) / "scan.json", text)


_FILES = "qsm OUT --quiet --magnitude IN/m1.nii.gz IN/m2.nii.gz --phase IN/p1.nii.gz IN/p2.nii.gz"
_UNIT = "give --phase-unit rad, mrad, siemens or range:LO:HI"
_NOT = "but in the unit"
_RIGHT = "give siemens for values of -4096 to 4094, range:0:4096 for 0 to 4095, or else range:LO:HI"

CASES = (
    Case("unit_untold", "phase whose unit nothing tells", _told(Units=None), QSM,
         "IN/phase.nii.gz: neither the header nor a sidecar says in what unit the phase is stored (it spans -3.09223 "
         "to 3.09974); give --phase-unit rad, mrad, siemens or range:LO:HI", pain=1),
    Case("unit_wrong", "phase of 0 to 4095 called radian", _phase(np.abs(phase_of(*SHAPE, 3)) * 1300), QSM,
         "IN/phase.nii.gz: in the unit 'rad' (from the sidecar's Units) the phase would span 2.056 to 4030 rad; "
         "expected about -3.14 to 3.14: give the right --phase-unit", pain=1),
    Case("unit_unknown", "a unit that does not exist", echo_images, f"{QSM} --phase-unit degrees",
         "unknown phase unit 'degrees'; expected rad, mrad, siemens or range:LO:HI", pain=1),
    Case("unit_range", "a range that ends before it begins", echo_images, f"{QSM} --phase-unit range:4095:0",
         "unknown phase unit 'range:4095:0'; expected rad, mrad, siemens or range:LO:HI with LO below HI"),
    Case("unit_siemens", "phase of 0 to 4095 called siemens", _phase(np.abs(phase_of(*SHAPE, 3)) * 1300),
         f"{QSM} --phase-unit siemens", f"IN/phase.nii.gz: the phase spans 2.05562 to 4029.66, {_NOT} 'siemens' (from "
         f"the option --phase-unit) -4096 is -pi and 4096 is pi; {_RIGHT}", pain=1),
    Case("unit_beyond", "phase of -4096 to 4094 called range:0:4095", _phase(phase_of(*SHAPE, 3) * 1300),
         f"{QSM} --phase-unit range:0:4095", f"IN/phase.nii.gz: the phase spans -4019.9 to 4029.66, {_NOT} "
         f"'range:0:4095' (from the option --phase-unit) 0 is -pi and 4095 is pi; {_RIGHT}", pain=1),
    Case("phase_constant", "phase of one value", _phase(np.zeros((*SHAPE, 3), np.float32)), QSM,
         "IN/phase.nii.gz: the phase is 0 in every voxel; expected wrapped phase images", pain=2),
    Case("phase_nan", "phase that is NaN everywhere", _phase(np.full((*SHAPE, 3), np.nan, np.float32)), QSM,
         "IN/phase.nii.gz: the phase is finite in no voxel; expected wrapped phase images", pain=2),
    Case("phase_denormal", "phase of 1e-310 rad", _phase(phase_of(*SHAPE, 3).astype(np.float64) * 1e-310), QSM,
         "IN/phase.nii.gz: in the unit 'rad' (from the sidecar's Units) the phase would span -3.092e-310 to 3.1e-310 "
         "rad; expected about -3.14 to 3.14: give the right --phase-unit"),
    Case("swapped", "magnitude and phase swapped", _swapped, QSM,
         "IN/magnitude.nii.gz: the magnitude reaches from -3.092 to 3.1; expected no values below zero: are "
         "magnitude and phase swapped?", pain=8),
    Case("filtered", "high-pass filtered phase", _told(ImageType=["ORIGINAL", "PRIMARY", "P", "SWI"]), QSM,
         "IN/phase.nii.gz: the phase was high-pass filtered, as for SWI (ImageType holds SWI); expected the phase as "
         "measured: export the unfiltered phase of the scan, or give --accept-phase filtered to go on all the same"),
    Case("one_part", "real images without imaginary ones", echo_images, "qsm OUT --quiet --real IN/phase.nii.gz",
         "give either --recon DIR, or both --magnitude and --phase, or both --real and --imag", pain=6),
    Case("imaginary_zero", "an imaginary part of zeros",
         lambda f: echo_images(f) or image(f / "zero.nii.gz", np.zeros((*SHAPE, 3), np.float32)),
         "qsm OUT --quiet --real IN/phase.nii.gz --imag IN/zero.nii.gz",
         "IN/zero.nii.gz: is zero in every voxel; expected the real or imaginary part of an echo", pain=6),
    Case("coils_as_echoes", "32 coils of two echoes as 64 echoes",
         lambda f: echo_images(f, 64) or sidecar(f, EchoTime=[0.004, 0.008]), QSM,
         "IN/phase.nii.gz: the images have 64 echoes, but 2 echo times are given", pain=3),
    Case("coils_combined", "combined images to be combined", echo_images, f"{QSM} --coil-combination mcpc3ds",
         "IN/phase.nii.gz: holds combined images, no single coils; leave out --coil-combination", pain=4),
    Case("bipolar_two", "alternating polarity of two echoes",
         lambda f: echo_images(f, 2) or sidecar(f, EchoTime=[0.004, 0.008]), f"{QSM} --bipolar",
         "odd and even echoes can be told apart from three echoes on; got 2", pain=5),
    Case("missing_slice", "an echo with a slice less", lambda f: _echo_files(f, shapes=(SHAPE, (10, 9, 7))), _FILES,
         "IN/m2.nii.gz: has shape (10, 9, 7); expected (10, 9, 8), the shape of IN/p1.nii.gz", pain=8),
    Case("echo_order", "magnitude and phase in other orders", _echo_files,
         _FILES.replace("IN/m1.nii.gz IN/m2.nii.gz", "IN/m2.nii.gz IN/m1.nii.gz"),
         "IN/m2.nii.gz: its EchoTime is 0.008 s; expected 0.004 s, as IN/p1.nii.gz at the same place has", pain=8),
    Case("times_equal", "two echoes of one echo time", lambda f: _echo_files(f, times=(0.004, 0.004)), _FILES,
         "IN/p1.nii.gz: two echoes have one EchoTime in their sidecars ([0.004, 0.004] s)", pain=8),
    Case("times_in_ms", "echo times in milliseconds", _told(EchoTime=[4, 8, 12]), QSM,
         "IN/phase.nii.gz: echo time 12.0 s is longer than 0.5 s; give echo times in seconds, not "
         "milliseconds", pain=8),
    Case("times_negative", "a negative echo time", _told(EchoTime=[-0.004, 0.008, 0.012]), QSM,
         "IN/phase.nii.gz: echo times must be above zero in seconds; got -0.004"),
    Case("times_nan", "an echo time that is no number", _told(EchoTime=[0.004, float("nan"), 0.012]), QSM,
         "IN/phase.nii.gz: echo times must be above zero in seconds; got nan"),
    Case("times_denormal", "an echo time of 1e-310 s", _told(EchoTime=[1e-310, 0.008, 0.012]), QSM,
         "echo times must be evenly spaced; got [1e-310, 0.008, 0.012] s"),
    Case("times_unsorted", "echo times out of order", echo_images, f"{QSM} --echo-times 0.008 0.004 0.012",
         "IN/phase.nii.gz: echo times must ascend; got [0.008, 0.004, 0.012] s"),
    Case("times_text", "echo times as text", _told(EchoTime=["4 ms", "8 ms", "12 ms"]), QSM,
         "IN/phase.nii.gz: its sidecar's EchoTime is '4 ms'; expected a number"),
    Case("times_huge", "an echo time of 400 digits", _json('{"Units": "rad", "EchoTime": [1' + 400 * "0" + ", 2, 3]}"),
         QSM,
         "IN/phase.nii.gz: its sidecar's EchoTime is "
         "100000000000000000000000000000000000000000000000000000000000...; expected a number"),
    Case("times_few", "fewer echo times than echoes", _told(EchoTime=[0.004, 0.008]), QSM,
         "IN/phase.nii.gz: the images have 3 echoes, but 2 echo times are given", pain=8),
    Case("field_zero", "a field of 0 T", _told(MagneticFieldStrength=0), QSM,
         "the field strength is not known; give --field-strength in tesla"),
    Case("field_true", "a field of true", _told(MagneticFieldStrength=True), QSM,
         "IN/phase.nii.gz: its sidecar's MagneticFieldStrength is True; expected a number"),
    Case("field_negative", "a field of -3 T", _told(MagneticFieldStrength=-3), QSM,
         "IN/phase.nii.gz: field strength must be above zero in T; got -3.0"),
    Case("field_in_gauss", "a field in gauss", _told(MagneticFieldStrength=30000), QSM,
         "IN/phase.nii.gz: field strength 30000 T is outside 0.001 to 30 T; give it in tesla"),
    Case("b0_nan", "a B0 direction that is no number", echo_images, f"{QSM} --b0-direction nan 0 1",
         "B0 direction must be three finite numbers, not all zero; got (nan, 0.0, 1.0)", pain=7),
    Case("b0_zero", "a B0 direction of zeros", echo_images, f"{QSM} --b0-direction 0 0 0",
         "B0 direction must be three finite numbers, not all zero; got (0.0, 0.0, 0.0)", pain=7),
    Case("json_cut", "a sidecar that is cut short", _json('{"Units": "rad", "EchoTi'), QSM,
         "IN/phase.json: expected JSON, but it cannot be read (…)"),
    Case("json_list", "a sidecar that is a list", _json("[0.004, 0.008]"), QSM,
         "IN/phase.json: expected a JSON object; got list"),
    Case("json_deep", "a sidecar of 100000 brackets", _json('{"a": ' + 100000 * "["), QSM,
         "IN/phase.json: expected JSON, but it cannot be read (…)"),
    Case("json_digits", "a number of 5000 digits", _json('{"EchoTime": ' + 5000 * "1" + "}"), QSM,
         "IN/phase.json: expected JSON, but it cannot be read (…)"),
    Case("json_utf16", "a sidecar in UTF-16", _json('{"Units": "rad"}', "utf-16"), QSM,
         "IN/phase.json: expected JSON, but it cannot be read (…)"),
    Case("unwrapped", "phase that is unwrapped already",
         lambda f: single_step(f) or image(f / "field.nii.gz", 9 * phase_of(*SHAPE)), _UNWRAP,
         "IN/field.nii.gz: expected wrapped phase within -3.14 to 3.14 rad; the largest value is 27.9"),
    Case("scan_shape", "scan.json of other images", _scan(shape=[20, 18, 16]), QSM_OF_RECON,
         "IN/recon/scan.json: describes a scan of shape (20, 18, 16); the images have shape (10, 9, 8)", pain=8),
    Case("scan_shape_nan", "a shape of no numbers", _scan(shape=[float("nan"), 9, 8]), QSM_OF_RECON,
         "IN/recon/scan.json: shape must be whole numbers above zero; got [nan, 9, 8]"),
    Case("scan_shape_two", "a shape of two axes", _scan(shape=[10, 9]), QSM_OF_RECON,
         "IN/recon/scan.json: describes a scan of shape (10, 9); the images have shape (10, 9, 8)"),
    Case("scan_b0", "a B0 direction of two numbers", _scan(b0_direction=[0.0, 1.0]), QSM_OF_RECON,
         "IN/recon/scan.json: b0_direction must be three numbers; got [0.0, 1.0]"),
    Case("scan_times", "echo times as text", _scan(echo_times_s="0.004"), QSM_OF_RECON,
         "IN/recon/scan.json: echo_times_s must be a list of numbers; got '0.004'"),
    Case("scan_ms", "echo times in milliseconds", _scan(echo_times_s=[4, 8, 12]), QSM_OF_RECON,
         "IN/recon/scan.json: echo time 12.0 s is longer than 0.5 s; give echo times in seconds, not milliseconds"),
    Case("scan_not_json", "scan.json that is no JSON", _scan_text("TE = 4 ms"), QSM_OF_RECON,
         "IN/recon/scan.json: expected JSON, but it cannot be read (…)"),
)  # fmt: skip
