"""One virtual participant through the whole line: raw k-space of four scans, susceptibility, seven nuclei, a page.

The scans are parallel imaging at AF 2 (PI2) and Poisson-disk sampling at AF 3, 4 and 5 (DL3, DL4, DL5), each with its
own noise, head position, drift and shim, and each with the reconstruction that dlqsm run would choose. OUT receives the
BIDS dataset with its truth, the maps, tables and report.html. No network is needed.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch

from dlqsm.acquisition.conditions import parse_arm
from dlqsm.acquisition.head import draw_participants
from dlqsm.agreement.similarity import compare_maps
from dlqsm.cli.arguments import add_memory_argument, path, seed
from dlqsm.cli.console import Talk, say_alarms, start
from dlqsm.cli.memory import state_memory
from dlqsm.cli.qsm import run_chain, save_maps
from dlqsm.cli.recon import reconstruct_raw, save_images
from dlqsm.cli.report import build_page
from dlqsm.cli.simulate import read_protocol
from dlqsm.cli.virtual_dataset import Cohort, describe_dataset, raw_path, simulate_participant, truth_path
from dlqsm.cohort.chain import examined
from dlqsm.cohort.chain_input import read_recon
from dlqsm.cohort.plan import FOR_RANDOM, FOR_UNIFORM, default_method
from dlqsm.config import QsmConfig
from dlqsm.core.labels import NUCLEI, label_table
from dlqsm.core.raw import calibration_region
from dlqsm.core.sampling_kind import is_uniform
from dlqsm.core.scan import Grid
from dlqsm.io.anatomy import load_anatomy
from dlqsm.io.manifest import ArmFolders, Manifest, write_manifest
from dlqsm.io.nifti import read_volume
from dlqsm.io.outputs import output_folder, remove_partial_files
from dlqsm.io.raw import read_raw
from dlqsm.io.tables import write_table
from dlqsm.nuclei.regions import measure_regions
from dlqsm.pipeline.memory import virtual_study_bytes

ARMS = ("PI2", "DL3", "DL4", "DL5")
PROTOCOL = "small"


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments."""
    del words
    default = Path("dlqsm_demo")
    parser.add_argument(
        "out", type=path, metavar="OUT", nargs="?", default=default, help=f"folder (default: {default})"
    )
    parser.add_argument("--seed", type=seed, default=0, help="of the participant and all noise (default: 0)")
    add_memory_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    talk, device = start(arguments)
    config = QsmConfig()
    factors = [parse_arm(arm).acceleration for arm in ARMS]
    need = virtual_study_bytes(read_protocol(PROTOCOL), factors, (FOR_UNIFORM, FOR_RANDOM), config)
    state_memory(arguments, talk, need)
    produces = ("report.html", "bids")
    with output_folder(arguments.out, overwrite=arguments.overwrite, produces=produces) as folder:
        remove_partial_files(folder)
        (folder / produces[0]).unlink(missing_ok=True)  # it comes last, and tells that all is there
        label = _simulate(folder / "bids", arguments.seed, talk)
        done: dict[str, tuple[pd.DataFrame, dict[str, object], str]] = {}
        for arm in ARMS:
            table, figures, method, config = _arm(folder, label, arm, config, talk, device)
            done[arm] = table, figures, method
        regions = pd.concat([table for table, _, _ in done.values()], ignore_index=True)
        similarity = pd.DataFrame([figures for _, figures, _ in done.values()])
        write_table(folder / "nuclei.tsv", regions, {"Reference": "mean over the eroded brain mask of each arm"})
        write_table(folder / "similarity.tsv", similarity, {"Reference": "true susceptibility of each arm"})
        write_manifest(folder, _manifest(folder, label))
        with talk.working("report"):
            page = build_page(folder)
    print(nuclei_text(regions, {arm: method for arm, (_, _, method) in done.items()}))
    print(f"\n{page}")
    return 0


def nuclei_text(regions: pd.DataFrame, methods: Mapping[str, str]) -> str:
    """The seven nuclei x arms as text: measured [ppb], and the difference from truth in brackets.

    Parameters
    ----------
    regions
        Long table with the column ``truth_ppb``.
    methods
        Arm to its reconstruction.
    """
    both = regions[regions["side"] == "both"].set_index(["roi", "arm"])
    arms = list(dict.fromkeys(regions["arm"]))
    lines = ["Susceptibility in ppb (difference from truth), relative to the brain", ""]
    lines.append(f"{'':<6}" + "".join(f"{f'{arm} {methods[arm]}':>17}" for arm in arms))
    for roi in NUCLEI:
        cells = [both.loc[(roi, arm)] for arm in arms]
        shown = [f"{c['mean_ppb']:8.1f} ({c['mean_ppb'] - c['truth_ppb']:+5.1f})" for c in cells]
        lines.append(f"{roi:<6}" + "".join(f"{text:>17}" for text in shown))
    errors = (both["mean_ppb"] - both["truth_ppb"]).abs().groupby("arm").mean()
    lines.append(f"{'mean':<6}" + "".join(f"{f'|{errors[arm]:.1f}|':>17}" for arm in arms))
    return "\n".join(lines)


def _simulate(root: Path, seed: int, talk: Talk) -> str:
    cohort = Cohort(read_protocol(PROTOCOL), ARMS, seed)
    (participant,) = draw_participants(1, seed)
    simulate_participant(root, load_anatomy(), participant, cohort, talk)
    describe_dataset(root, [participant], cohort)
    return participant.label


def _arm(
    folder: Path, label: str, arm: str, config: QsmConfig, talk: Talk, device: torch.device
) -> tuple[pd.DataFrame, dict[str, object], str, QsmConfig]:
    """Raw data of one arm to maps; region values, similarity to truth, reconstruction, and configuration of the next.

    The first arm chooses the strength, and the others take it: maps of unlike strength must not be compared.
    """
    talk.say(f"{arm}:")
    recon, qsm = folder / f"acq-{arm}" / "recon", folder / f"acq-{arm}" / "qsm"
    raw = read_raw(raw_path(folder / "bids", label, arm))
    mask = raw.header.sampling_mask
    method = default_method(uniform=is_uniform(mask, calibration_region(mask)))
    save_images(recon, raw, method, reconstruct_raw(raw, method, {}, talk, device))
    source = read_recon(recon)
    maps = run_chain(source, config, talk, device)
    source = examined(maps, source)
    say_alarms(source.alarms, talk)
    save_maps(qsm, maps, source, config, home=qsm)
    valid = maps.eroded_mask.cpu()
    table, figures = _judge(folder / "bids", label, arm, maps.chi_ppm.cpu(), valid, source.scan.grid)
    return table, figures, method, config.with_chosen(maps.summary["convergence"]["inversion"])


def _judge(
    root: Path, label: str, arm: str, chi_ppm: torch.Tensor, mask: torch.Tensor, grid: Grid
) -> tuple[pd.DataFrame, dict[str, object]]:
    """Region values beside the true ones, and similarity to the true map; both maps lose their mean in one mask."""
    truth_ppm, _ = read_volume(_nifti(truth_path(root, label, arm, "Chimap")))
    labels, _ = read_volume(_nifti(truth_path(root, label, arm, "dseg")))
    truth_ppm = truth_ppm - truth_ppm[mask].mean()
    inside = torch.where(mask, labels, torch.zeros_like(labels))
    names = label_table()
    table = measure_regions(chi_ppm, inside, names, grid, participant=label, arm=arm)
    true = measure_regions(truth_ppm, inside, names, grid, participant=label, arm=arm)
    figures = compare_maps(chi_ppm, truth_ppm, mask, grid)
    return table.assign(truth_ppb=true["mean_ppb"]), {"arm": arm, "reference": "truth", **figures}


def _manifest(folder: Path, label: str) -> Manifest:
    def relative(path: Path) -> str:
        return str(_nifti(path).relative_to(folder))

    arms = tuple(
        ArmFolders(
            name=arm,
            qsm=f"acq-{arm}/qsm",
            recon=f"acq-{arm}/recon",
            truth_chi=relative(truth_path(folder / "bids", label, arm, "Chimap")),
            labels=relative(truth_path(folder / "bids", label, arm, "dseg")),
        )
        for arm in ARMS
    )
    return Manifest(label, arms, "nuclei.tsv", "similarity.tsv", ARMS[0])


def _nifti(stem: Path) -> Path:
    return stem.with_name(f"{stem.name}.nii.gz")
