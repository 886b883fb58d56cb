"""One self-contained HTML page for a participant."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Final

import jinja2

import dlqsm
from dlqsm.core.labels import COLOURS, FULL_NAMES, NUCLEI
from dlqsm.report import panels
from dlqsm.report.alarm_rows import alarm_rows
from dlqsm.report.arm_methods import arm_checklist, arm_sentences
from dlqsm.report.checklist import consensus_checklist, echo_times_text, matrix_text, voxel_text
from dlqsm.report.comparison import Comparison, convergence_rows, decision_rows, registration_rows, seconds_rows
from dlqsm.report.methods_text import value_text
from dlqsm.report.nucleus_table import MARGIN_PPB, NucleusTable, error_plot, nucleus_tables
from dlqsm.report.numbers import UNKNOWN, number, signed
from dlqsm.report.participant import ArmMaps, ParticipantReport
from dlqsm.report.planes import tilt_deg
from dlqsm.report.summary import methods_of, scan_of, scan_time_s, seconds_of
from dlqsm.report.viewer import linked_viewer

QUANTITIES: Final = ("magnitude", "phase_rad", "total_field_hz", "noise_hz", "local_field_hz")
CROWDED: Final = 5
"""From this number of arms on, differences stand under the values of the nuclei, for lack of room beside them."""
MEASURES: Final = {
    "rmse_ppb": ("RMSE", "ppb", 1),
    "nrmse_percent": ("NRMSE", "%", 1),
    "ssim": ("SSIM", "", 3),
    "xsim": ("XSIM", "", 3),
    "psnr_db": ("PSNR", "dB", 1),
    "hfen_percent": ("HFEN", "%", 1),
    "sharpness_ratio": ("Edge sharpness", "ratio", 3),
}
"""Column of the similarity table to name, unit and decimals."""
REFERENCE: Final = "reference"
"""Optional column of the similarity table: what each arm was compared with."""
TEMPLATES: Final = jinja2.Environment(
    loader=jinja2.PackageLoader("dlqsm.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)  # fmt: skip


def participant_page(report: ParticipantReport) -> str:
    """The page of one participant: images, tables and text in one HTML file without outside parts.

    Parameters
    ----------
    report
        Maps and tables of all arms; pieces that are absent are named on the page as absent.

    Returns
    -------
    HTML text.
    """
    tables = nucleus_tables(report)
    main = tables[0] if tables else None
    script = TEMPLATES.get_template("viewer.js").render()
    return TEMPLATES.get_template("participant.html.j2").render(
        report=report,
        version=dlqsm.__version__,
        facts=_facts(report.leading),
        arms=_arms(report, main),
        alarms=alarm_rows(report),
        tilt_deg=tilt_deg(report.leading.grid),
        viewer=linked_viewer(report),
        chi=panels.quantity_gallery(report, "chi_ppm"),
        zoom=panels.zoom_gallery(report),
        placed=panels.registration_gallery(report),
        registration=registration_rows(report),
        differences=[d for d in (panels.difference_to_truth(report), panels.difference_to_reference(report)) if d],
        fields=[panels.quantity_gallery(report, quantity) for quantity in QUANTITIES],
        tables=tables,
        error_plot=error_plot(main, [arm.name for arm in report.arms]) if main and main.target else None,
        legend=[(name, FULL_NAMES[name], COLOURS[name]) for name in NUCLEI],
        margin_ppb=MARGIN_PPB,
        measures=MEASURES,
        similarity=_similarity(report),
        seconds=seconds_rows(report),
        convergence=convergence_rows(report),
        decisions=decision_rows(report),
        sentences=arm_sentences({arm.name: arm.summary for arm in report.arms}),
        checklist=arm_checklist(
            [arm.name for arm in report.arms], [consensus_checklist(arm, report.software) for arm in report.arms]
        ),
        is_crowded=len(report.arms) >= CROWDED,
        signed=signed,
        number=number,
        script=script,
        policy=policy(script),
    )


def policy(script: str = "") -> str:
    """What a browser lets the page do: show what stands in it, run this script and no other, reach nothing outside."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    runs = f"script-src 'sha256-{digest}'; " if script else ""
    return f"default-src 'none'; {runs}img-src data:; style-src 'unsafe-inline'"


def _facts(arm: ArmMaps) -> list[str]:
    """The protocol in one line, as far as it is known."""
    scan = scan_of(arm.summary)
    strength = scan.get("field_strength_t")
    found = [
        scan.get("protocol") and f"protocol {scan['protocol']}",
        strength and f"{strength:.4g} T",
        echo_times_text(scan),
        voxel_text(arm.grid),
        matrix_text(arm.grid),
    ]
    return [str(fact) for fact in found if fact]


def _arms(report: ParticipantReport, table: NucleusTable | None) -> Comparison:
    """The table of arms, without the columns of which nothing is known."""
    facts = [_arm_facts(arm, table) for arm in report.arms]
    head = [title for title in facts[0] if any(fact[title] != UNKNOWN for fact in facts)]
    rows = [(arm.name, [fact[title] for title in head]) for arm, fact in zip(report.arms, facts, strict=True)]
    return Comparison(head, rows)


def _arm_facts(arm: ArmMaps, table: NucleusTable | None) -> dict[str, str]:
    """One line of the table of arms."""
    scan = scan_of(arm.summary)
    method = methods_of(arm.summary).get("reconstruction")
    seconds = scan_time_s(arm.summary)
    error = table.mean_absolute_error_ppb(arm.name) if table else None
    total = sum(seconds_of(arm.summary).values())
    return {
        "Acceleration": number(arm.acceleration, 2),
        "Scan time": UNKNOWN if seconds is None else "{}:{:02d} min".format(*divmod(round(seconds), 60)),
        "Mean |error| of nuclei": UNKNOWN if error is None else f"{error:.1f} ppb",
        "Sampling": value_text(scan["sampling"]) if scan.get("sampling") else UNKNOWN,
        "Reconstruction": str(method.get("method", UNKNOWN) if isinstance(method, Mapping) else method or UNKNOWN),
        "Computing": f"{total:.1f} s" if total else UNKNOWN,
    }


def _similarity(report: ParticipantReport) -> Comparison | None:
    """Arms by measures; None where no maps were compared."""
    if report.similarity is None or report.similarity.empty:
        return None
    known = [key for key in MEASURES if key in report.similarity]
    head = [f"{MEASURES[key][0]}" + (f" [{MEASURES[key][1]}]" if MEASURES[key][1] else "") for key in known]
    told = [REFERENCE] if REFERENCE in report.similarity else []
    rows = [
        (
            str(row["arm"]),
            [str(row[key]) for key in told] + [number(float(row[key]), MEASURES[key][2]) for key in known],
        )
        for row in report.similarity.to_dict("records")
    ]
    return Comparison(["compared with" for _ in told] + head, rows)
