"""The methods paragraph: each step that ran adds its own sentence, with its parameters and its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

STEPS: Final = ("sampling", "reconstruction", "field", "unwrap", "background", "inversion", "reference")
"""Order of the sentences: the order of the data."""

SENTENCES: Final[dict[tuple[str, str], tuple[str, tuple[str, ...]]]] = {
    ("sampling", "full"): ("K-space was fully sampled", ()),
    ("sampling", "irregular"): (
        "Phase-encoding positions were sampled irregularly round a fully sampled centre",
        ("10.1002/mrm.21391",),
    ),
    ("sampling", "uniform"): (
        "Phase-encoding positions were skipped regularly outside a fully sampled centre",
        ("10.1002/mrm.1241",),
    ),
    ("reconstruction", "zero"): ("Images were reconstructed by zero filling and combined with coil sensitivities", ()),
    ("reconstruction", "sense"): (
        "Images were reconstructed by iterative SENSE (conjugate gradients) with ESPIRiT sensitivities",
        ("10.1002/mrm.1241", "10.1002/mrm.24751"),
    ),
    ("reconstruction", "cs"): (
        "Images were reconstructed by compressed sensing",
        ("10.1002/mrm.21391",),
    ),
    ("reconstruction", "cascade"): (
        "Images were reconstructed coil by coil by a cascade of convolutional blocks, each followed by data "
        "consistency",
        ("10.3389/fnins.2025.1522227", "10.1109/TMI.2017.2760978"),
    ),
    ("reconstruction", "joint"): (
        "Images of all echoes and coils were reconstructed together by an unrolled network that starts from compressed "
        "sensing",
        ("10.1002/mrm.26977", "10.1109/TMI.2018.2865356"),
    ),
    ("field", "mdi"): (
        "The field map is the phase of the products of neighbouring echoes, summed over echoes and channels (MDI)",
        ("10.3389/fnins.2025.1522227",),
    ),
    ("field", "fit"): (
        "The field map is a nonlinear fit, with weights |S|^2, to the products of all pairs of echoes, summed over "
        "channels",
        ("10.1109/TMI.2009.2023787", "10.1002/mrm.24272"),
    ),
    ("unwrap", "spun"): (
        "Phase was unwrapped exactly by region growing from screened seeds in the order of phase quality (SPUN)",
        ("10.3389/fnins.2025.1522227",),
    ),
    ("unwrap", "romeo"): (
        "Phase was unwrapped exactly by region growing along edges weighted as in ROMEO",
        ("10.1002/mrm.28563",),
    ),
    ("unwrap", "laplacian"): (
        "Phase was unwrapped by a Poisson equation for its Laplacian, which is not exact",
        ("10.1364/OL.28.001194",),
    ),
    ("background", "vsharp"): (
        "The background field was removed by V-SHARP",
        ("10.1002/mrm.23000",),
    ),
    ("background", "pdf"): (
        "The background field was removed by projection onto dipole fields (PDF)",
        ("10.1002/nbm.1670",),
    ),
    ("background", "pdf_tv"): (
        "The background field was removed by projection onto dipole fields (PDF), followed by a joint fit of sources "
        "outside the brain and of a susceptibility inside it whose total variation is penalised",
        ("10.1002/nbm.1670", "10.1002/mrm.26331"),
    ),
    ("background", "lbv"): (
        "The background field was removed as the harmonic field that equals the total field on the rim of the brain "
        "(LBV)",
        ("10.1002/nbm.3064",),
    ),
    ("background", "resharp"): (
        "The background field was removed by spherical means and a Tikhonov-regularised deconvolution (RESHARP)",
        ("10.1002/mrm.24765",),
    ),
    ("background", "none"): ("The background field was not removed in a step of its own", ()),
    ("inversion", "l1"): (
        "Susceptibility was solved for with an L1 penalty on its gradients outside the edges of the magnitude, "
        "by the alternating direction method of multipliers",
        ("10.1016/j.neuroimage.2011.08.082", "10.1002/mrm.25029"),
    ),
    ("inversion", "tv"): (
        "Susceptibility was solved for with a total-variation penalty and noise weights, by the alternating direction "
        "method of multipliers",
        ("10.1002/mrm.25029",),
    ),
    ("inversion", "fansi"): (
        "Susceptibility was solved for with a total-variation penalty and a data term that is periodic as the phase is "
        "(FANSI), by the alternating direction method of multipliers",
        ("10.1002/mrm.27073",),
    ),
    ("inversion", "tgv"): (
        "Susceptibility was solved for with total generalised variation of second order, its harmonic part "
        "ignored or kept as the parameter harmonic says",
        ("10.1016/j.neuroimage.2015.02.041",),
    ),
    ("inversion", "medi"): (
        "Susceptibility was solved for with a periodic data term and an L1 penalty on its gradients outside the edges "
        "of the magnitude, by Gauss-Newton steps (MEDI)",
        ("10.1002/mrm.24272",),
    ),
    ("inversion", "ilsqr"): (
        "Susceptibility was obtained by weighted least squares stopped early, less the streaks that a second fit found "
        "where the dipole kernel is small (iLSQR)",
        ("10.1016/j.neuroimage.2014.12.043",),
    ),
    ("inversion", "tkd"): (
        "Susceptibility was obtained by thresholded k-space division",
        ("10.1002/mrm.22135",),
    ),
    ("inversion", "tikhonov"): (
        "Susceptibility was obtained by Tikhonov-regularised inversion in closed form",
        ("10.1002/mrm.25029",),
    ),
    ("reference", "brain"): (
        "Susceptibility is relative to the mean over the whole brain (eroded mask)",
        ("10.1002/mrm.30006",),
    ),
    ("reference", "csf"): (
        "Susceptibility is relative to the mean over cerebrospinal fluid, found by its low R2*",
        ("10.1002/mrm.30006",),
    ),
    ("reference", "external"): ("Susceptibility is relative to the mean over a region that was given", ()),
}
"""(step, method) to sentence and DOIs; every figure in the text comes from the parameters that ran."""


@dataclass(frozen=True)
class Sentence:
    """One step's words and where they come from."""

    step: str
    text: str
    dois: tuple[str, ...]


def method_sentences(methods: Mapping[str, Any]) -> list[Sentence]:
    """One sentence for each step that ran, in the order of the data.

    Parameters
    ----------
    methods
        Step to ``{"method": name, "parameters": {...}}`` or to a plain name.

    Returns
    -------
    Sentences; a method that this table does not know is named as such, without a source.
    """
    ordered = [*STEPS, *(step for step in methods if step not in STEPS)]
    return [_sentence(step, methods[step]) for step in ordered if methods.get(step)]


def methods_text(methods: Mapping[str, Any], software: Mapping[str, str]) -> str:
    """The methods paragraph as plain text with DOIs, to paste into a paper."""
    sentences = [f"{s.text}{_sources(s.dois)}." for s in method_sentences(methods)]
    versions = ", ".join(f"{name} {version}" for name, version in software.items())
    return " ".join([*sentences, f"Software: {versions}."] if versions else sentences)


def parameters_text(parameters: Mapping[str, Any]) -> str:
    """Parameters as ``name value`` pairs with units spelt from their names."""
    return "; ".join(f"{_spelt(name)} {value_text(value)}" for name, value in parameters.items())


def value_text(value: object) -> str:
    """A number, list, truth value or word as it stands in running text."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(value_text(v) for v in value)
    if isinstance(value, Mapping):
        return "; ".join(f"{_spelt(str(k))} {value_text(v)}" for k, v in value.items())
    return str(value)


def _sentence(step: str, content: object) -> Sentence:
    if isinstance(content, Mapping):
        name, parameters = str(content.get("method", "not named")), dict(content.get("parameters", {}))
    else:
        name, parameters = str(content), {}
    text, dois = SENTENCES.get((step, name), (f"Step {step} used the method {name}", ()))
    written = parameters_text(parameters)
    return Sentence(step, f"{text} ({written})" if written else text, dois)


def _sources(dois: tuple[str, ...]) -> str:
    return f" [{', '.join('doi:' + doi for doi in dois)}]" if dois else ""


_UNITS: Final = {"mm": "mm", "s": "s", "hz": "Hz", "ppm": "ppm", "ppb": "ppb", "deg": "degrees", "rad": "rad", "t": "T"}


def _spelt(name: str) -> str:
    """``radii_mm`` is "radii [mm]"."""
    words = name.split("_")
    if len(words) > 1 and words[-1] in _UNITS:
        return f"{' '.join(words[:-1])} [{_UNITS[words[-1]]}]"
    return " ".join(words)
