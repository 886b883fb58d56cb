"""Which atlas a name or a folder means."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import torch

from dlqsm.acquisition.tissue import TISSUES
from dlqsm.core.atlas import Atlas
from dlqsm.core.checks import InputError
from dlqsm.core.units import PPB_PER_PPM
from dlqsm.io.atlas_files import read_atlas_folder
from dlqsm.pipeline.virtual_atlas import virtual_atlas


def find_atlas(name_or_dir: str) -> Atlas:
    """The atlas ``virtual``, ``cit168``, or the one in a folder.

    Atlases of files have no susceptibility: theirs is made from the labels and population values of the nuclei, for
    the registration's second channel, and their source says so.

    Raises
    ------
    InputError
        If it is neither a known name nor a folder, or the folder is incomplete, or a download fails.
    """
    if name_or_dir == "virtual":
        return virtual_atlas()
    if name_or_dir == "cit168":
        # Its packages are slow to load and only this choice needs them.
        return with_susceptibility(importlib.import_module("dlqsm.io.cit168").fetch_cit168())
    folder = Path(name_or_dir).expanduser()
    if not folder.is_dir():
        raise InputError(f"atlas '{name_or_dir}' is neither virtual nor cit168, and no folder of that name exists")
    return with_susceptibility(read_atlas_folder(folder))


def with_susceptibility(atlas: Atlas) -> Atlas:
    """Give an atlas the susceptibility of its labels: the sum of probability times population mean of the nucleus."""
    values = [TISSUES[roi].chi_ppb / PPB_PER_PPM for roi, _ in atlas.names.values()]
    chi_ppm = torch.einsum("lxyz,l->xyz", atlas.probabilities, torch.tensor(values))
    told = {"susceptibility": "synthetic: label probabilities times population means of the nuclei; zero elsewhere"}
    return replace(atlas, chi_ppm=chi_ppm, source={**atlas.source, **told})
