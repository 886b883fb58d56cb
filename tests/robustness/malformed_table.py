"""All malformed inputs, by kind."""

import malformed_bids
import malformed_dicom
import malformed_nifti
import malformed_phase
import malformed_raw
import malformed_settings
import malformed_tables
from malformed_case import Case

_MODULES = (
    malformed_nifti, malformed_phase, malformed_dicom, malformed_raw, malformed_bids, malformed_tables,
    malformed_settings,
)  # fmt: skip
KINDS: dict[str, tuple[Case, ...]] = {module.TITLE: module.CASES for module in _MODULES}
ALL_CASES: tuple[Case, ...] = tuple(case for cases in KINDS.values() for case in cases)
