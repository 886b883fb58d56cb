"""Which volumes of a study are the multi-echo gradient-echo scan: magnitude and phase of each echo, and a T1w image."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dlqsm.core.checks import InputError
from dlqsm.io.dicom_header import Series
from dlqsm.io.dicom_volumes import Volume
from dlqsm.io.nifti import require_same_grid
from dlqsm.io.sidecars import SAME_TIME_S

CHOOSE: Final = "choose with --series"
_T1W_NAME: Final = re.compile(r"mp-?rage|\bt1|_t1|t1w|bravo|ir-?fspgr", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Megre:
    """A multi-echo scan as it was found.

    Parameters
    ----------
    magnitude, phase
        One volume an echo, by ascending echo time; empty where real and imaginary images stand for them.
    t1w
        T1-weighted image; None where there is none.
    notes
        What was left out, in words.
    real, imaginary
        One volume an echo, where there is no phase; else empty.
    """

    magnitude: tuple[Volume, ...]
    phase: tuple[Volume, ...]
    t1w: Volume | None
    notes: tuple[str, ...]
    real: tuple[Volume, ...] = ()
    imaginary: tuple[Volume, ...] = ()

    @property
    def leading(self) -> tuple[Volume, ...]:
        """The volumes that tell of the phase: phase, or else imaginary images."""
        return self.phase or self.imaginary

    @property
    def beside(self) -> tuple[Volume, ...]:
        """The volumes that belong to them: magnitude, or else real images."""
        return self.magnitude or self.real


def find_megre(source: Path, volumes: Sequence[Volume], *, with_t1w: bool = True) -> Megre:
    """Find the one multi-echo scan among the volumes of a study.

    Phase images lead: magnitude images belong to them by grid and echo time, those of the same series first. A 3-D scan
    goes before 2-D ones, several echoes before one. Real and imaginary images, as GE stores them, are taken where there
    is no phase.

    Raises
    ------
    InputError
        If there is no phase, an echo lacks a part, there is one echo only, or several scans or images fit.
    """
    _require_known(volumes)
    there = {v.component for v in volumes}
    is_complex = "PHASE" not in there and {"REAL", "IMAGINARY"} <= there
    names = ("IMAGINARY", "REAL") if is_complex else ("PHASE", "MAGNITUDE")
    phase = _the_leading(source, names[0], volumes)
    magnitude = _those_beside(source, names[1], phase, volumes)
    _require_both(phase, magnitude, names)
    if len(phase) < 2:
        raise InputError(
            f"{phase[0].series.shown}: {phase[0].series} holds one echo; expected two or more of a multi-echo scan: "
            f"{CHOOSE}, or use dlqsm qsm on the images"
        )
    rest = [v for v in volumes if v.series not in {phase[0].series, magnitude[0].series}]
    t1w = _the_t1w(rest) if with_t1w else None
    unused = sorted({str(v.series) for v in rest if t1w is None or v.series is not t1w.series})
    notes = tuple(f"{name} is not used" for name in unused)
    if is_complex:
        return Megre((), (), t1w, notes, tuple(magnitude), tuple(phase))
    return Megre(tuple(magnitude), tuple(phase), t1w, notes)


def _require_known(volumes: Sequence[Volume]) -> None:
    for volume in volumes:
        if volume.component is None:
            raise InputError(
                f"{volume.series.shown}: {volume.series} holds MIXED images, and its headers do not tell which are "
                "magnitude and which are phase; expected them apart: export them as separate images or series, or "
                "leave it out with --series"
            )


def _groups(volumes: Sequence[Volume]) -> list[list[Volume]]:
    """Volumes that are one scan: of one series, on one grid; each by ascending echo time."""
    groups: list[list[Volume]] = []
    for volume in volumes:
        for group in groups:
            if group[0].series is volume.series and _same_grid(group[0], volume):
                group.append(volume)
                break
        else:
            groups.append([volume])
    return [sorted(group, key=_time) for group in groups]


def _the_leading(source: Path, component: str, volumes: Sequence[Volume]) -> list[Volume]:
    groups = _groups([v for v in volumes if v.component == component])
    if not groups:
        told = sorted({(v.component or "").lower() for v in volumes})
        raise InputError(
            f"{source}: expected magnitude and phase images; found only {' and '.join(told) or 'no'} images: let the "
            "scanner save and export the phase too"
        )
    for prefer in (lambda g: g[0].is_3d, lambda g: len(g) > 1):
        groups = [g for g in groups if prefer(g)] or groups
    if len(groups) > 1:
        raise _several(component.lower(), [g[0].series for g in groups])
    _require_single(groups[0])
    return groups[0]


def _those_beside(source: Path, component: str, phase: list[Volume], volumes: Sequence[Volume]) -> list[Volume]:
    fitting = [v for v in volumes if v.component == component and _same_grid(v, phase[0])]
    groups = [g for g in _groups(fitting) if any(_same_time(a, b) for a in g for b in phase)]
    groups = [g for g in groups if g[0].series is phase[0].series] or groups
    groups = [g for g in groups if len(g) >= len(phase)] or groups
    if not groups:
        raise InputError(
            f"{source}: no {component.lower()} image has grid and echo times of the {str(phase[0].component).lower()} "
            f"images of {phase[0].series}; export the {component.lower()} of the same scan too"
        )
    if len(groups) > 1:
        raise _several(component.lower(), [g[0].series for g in groups])
    _require_single(groups[0])
    return groups[0]


def _the_t1w(volumes: Sequence[Volume]) -> Volume | None:
    fitting = [v for v in volumes if _is_t1w(v)]
    if len(fitting) > 1:
        error = _several("T1-weighted", [v.series for v in fitting])
        raise InputError(f"{error}, or give --no-t1w")
    return fitting[0] if fitting else None


def _is_t1w(volume: Volume) -> bool:
    """A 3-D gradient-echo magnitude image with an inversion pulse or the name of a T1-weighted scan."""
    about = volume.sidecar
    names = " ".join(str(about.get(key, "")) for key in ("SeriesDescription", "ProtocolName"))
    is_weighted = "InversionTime" in about or bool(_T1W_NAME.search(names))
    is_gradient_echo = "GR" in str(about.get("ScanningSequence", ""))
    single = volume.component == "MAGNITUDE" and volume.n_volumes == 1 and volume.is_3d
    return single and is_weighted and is_gradient_echo


def _require_single(group: list[Volume]) -> None:
    """Each echo once, and told."""
    name, shown = group[0].series, group[0].series.shown
    for volume in group:
        if volume.echo_time_s is None:
            raise InputError(f"{shown}: {name} has images without an echo time; export it again, or {CHOOSE} another")
        if volume.n_volumes > 1:
            raise InputError(
                f"{shown}: {name} holds {volume.n_volumes} volumes of each echo; expected one: export one repetition"
            )
    for one, other in itertools.pairwise(group):
        if _same_time(one, other):
            raise InputError(
                f"{shown}: {name} holds two {str(one.component).lower()} images of the echo at {_ms(one)}; expected "
                "one (images of single coils, or of two repetitions, cannot be told apart): export one of each echo"
            )


def _require_both(phase: list[Volume], magnitude: list[Volume], names: tuple[str, str]) -> None:
    leading, beside = (name.lower() for name in names)
    for have, lack, what in ((magnitude, phase, leading), (phase, magnitude, beside)):
        for volume in have:
            if not any(_same_time(volume, other) for other in lack):
                raise InputError(
                    f"{volume.series.shown}: the echo at {_ms(volume)} of {volume.series} has no {what} image; "
                    f"expected {beside} and {leading} of every echo: export all images of {lack[0].series}"
                )


def _several(what: str, series: Sequence[Series]) -> InputError:
    named = " and ".join(dict.fromkeys(str(s) for s in series))
    return InputError(
        f"{series[0].shown}: several series hold {what} images that fit ({named}); expected one: {CHOOSE} N ..., and "
        "convert each scan by itself with --acq or --run"
    )


def _same_grid(one: Volume, other: Volume) -> bool:
    try:
        require_same_grid(one.path, one.grid, other.grid, str(other.path))
    except InputError:
        return False
    return True


def _same_time(one: Volume, other: Volume) -> bool:
    return abs(_time(one) - _time(other)) <= SAME_TIME_S


def _time(volume: Volume) -> float:
    return volume.echo_time_s or 0.0


def _ms(volume: Volume) -> str:
    return f"{1000 * _time(volume):g} ms"
