"""Commands on the tiniest data that show what a fault does to them, with what lies there before each."""

import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path

import torch

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / part) for part in ("", "cohort", "agreement", "faults")]

import standin  # noqa: E402
from made_up_table import cohort  # noqa: E402
from tiny_images import GRID, describe_scans, raw_scan, signal, write_scan  # noqa: E402

from dlqsm.cli import main, virtual_dataset  # noqa: E402
from dlqsm.core.labels import label_table  # noqa: E402
from dlqsm.core.threads import use_threads  # noqa: E402
from dlqsm.io.nifti import write_volume  # noqa: E402
from dlqsm.io.raw import write_raw  # noqa: E402
from dlqsm.io.tables import write_label_names, write_table  # noqa: E402
from made_dicom import MadeSeries, both, write_classic  # noqa: E402

PROTOCOL = """
base = "small"
name = "tiny"
shape = [28, 28, 20]
voxel_size_mm = [7.5, 7.5, 7.5]
fine_factor = [1, 1, 1]
n_coils = 2
echo_times_s = [0.0033, 0.0064, 0.0095]
"""
QUICK = '[inversion]\nmethod = "tkd"\n[background]\nmethod = "vsharp"\n'
SOON = ("--threads", "1", "--quiet")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A command, as a function of the data and of the folder of a trial, and what lies in that folder before."""

    words: Callable[[Path, Path], Sequence[object]]
    needs: tuple[str, ...]
    before: Callable[[Path, Path], None] = lambda data, trial: None


def _starting_with(name: str, data: Path, trial: Path) -> None:
    shutil.copytree(data / name, trial / "out")


def _starting_with_table(data: Path, trial: Path) -> None:
    for ending in ("tsv", "json"):
        shutil.copy2(data / f"older.{ending}", trial / f"values.{ending}")


def _maps(*more: object) -> Callable[[Path, Path], list[object]]:
    return lambda d, t: ["qsm", t / "out", "--recon", d / "recon", "--config", d / "quick.toml", *more, *SOON]


def _nuclei(*more: object) -> Callable[[Path, Path], list[object]]:
    def words(d: Path, t: Path) -> list[object]:
        given = ("--labels", d / "labels.nii.gz", "--names", d / "labels.tsv", "--participant", "sub-01", "--arm", "A")
        return ["nuclei", d / "maps" / "Chimap.nii.gz", t / "values.tsv", *given, *more, *SOON]

    return words


def _run(bids: str, *more: object, config: str = "quick.toml") -> Callable[[Path, Path], list[object]]:
    def words(d: Path, t: Path) -> list[object]:
        how = ("--config", d / config, "--atlas", "virtual", "--skip-bids-validation", "--workers", "1")
        return ["run", d / bids, t / "out", "participant", *how, *more, *SOON]

    return words


SCENARIOS = {
    "simulate": Scenario(
        lambda d, t: [
            "simulate", t / "out", "--participants", 1, "--seed", 3, "--protocol", d / "tiny.toml", "--arms", "PI2",
            *SOON,
        ],
        ("settings",),
    ),
    "recon": Scenario(lambda d, t: ["recon", d / "raw.h5", t / "out", "--method", "zero", *SOON], ("raw",)),
    "recon_again": Scenario(
        lambda d, t: ["recon", d / "raw.h5", t / "out", "--method", "zero", "--overwrite", *SOON],
        ("raw", "older_recon"),
        partial(_starting_with, "older_recon"),
    ),
    "qsm": Scenario(_maps(), ("settings", "raw", "recon")),
    "qsm_again": Scenario(
        _maps("--overwrite"), ("settings", "raw", "recon", "older_maps"), partial(_starting_with, "older_maps")
    ),
    "nuclei": Scenario(_nuclei(), ("settings", "raw", "recon", "maps", "labels")),
    "nuclei_again": Scenario(
        _nuclei("--overwrite"),
        ("settings", "raw", "recon", "maps", "labels", "older_table"),
        _starting_with_table,
    ),
    "convert_raw": Scenario(lambda d, t: ["convert", d / "raw.h5", t / "out", "--acq", "A", *SOON], ("raw",)),
    "convert_dicom": Scenario(lambda d, t: ["convert", d / "dicom", t / "out", *SOON], ("dicom",)),
    "agree": Scenario(
        lambda d, t: ["agree", d / "table.tsv", t / "out", "--reference", "PI2", "--resamples", 50, *SOON], ("table",)
    ),
    "report": Scenario(
        lambda d, t: ["report", t / "out", *SOON],
        ("settings", "raw", "recon", "maps"),
        partial(_starting_with, "maps"),
    ),
    "run_raw": Scenario(_run("raw_bids", "--method", "zero"), ("settings", "datasets")),
    "run_images": Scenario(_run("image_bids"), ("settings", "datasets")),
    "run_group": Scenario(
        lambda d, t: ["run", d / "raw_bids", t / "out", "group", "--skip-bids-validation", *SOON],
        ("settings", "datasets", "finished"),
        partial(_starting_with, "finished"),
    ),
    "run_other": Scenario(
        _run("raw_bids", "--method", "zero", config="older.toml"),
        ("settings", "datasets", "finished"),
        partial(_starting_with, "finished"),
    ),
}  # fmt: skip
"""Those named again begin with older results, which the command replaces; a run, with those of other settings."""


def prepare_process() -> None:
    """One thread, a registration that takes no time, and virtual heads that are made once."""
    use_threads(1)  # of Numba too: its threads, begun later, would give PyTorch as many
    standin.put_in_place(setattr)
    for name in ("make_head", "t1w_image", "acquire"):
        setattr(virtual_dataset, name, _once(getattr(virtual_dataset, name)))


def _once(plain: Callable[..., object]) -> Callable[..., object]:
    """The function, called once for arguments that look alike; a process that is forked finds what it returned."""
    known: dict[str, object] = {}

    def call(*given: object, **named: object) -> object:
        key = str((plain.__name__, named))
        if key not in known:
            known[key] = plain(*given, **named)
        return known[key]

    return call


def make_data(data: Path, names: Sequence[str] = tuple(SCENARIOS)) -> Path:
    """Write the inputs of scenarios, each once; return their folder."""
    data.mkdir(parents=True, exist_ok=True)
    needed = {part for name in names for part in SCENARIOS[name].needs}
    for part, make in MAKERS.items():
        mark = data / f"{part}.made"
        if part in needed and not mark.exists():
            make(data)
            mark.touch()
    if "simulate" in names:  # in this process, so that forks find the head and its scan
        shutil.rmtree(data / "warm", ignore_errors=True)
        do(*SCENARIOS["simulate"].words(data, data / "warm"))
    return data


def _settings(data: Path) -> None:
    (data / "tiny.toml").write_text(PROTOCOL)
    (data / "quick.toml").write_text(QUICK)
    (data / "older.toml").write_text(QUICK.replace("vsharp", "resharp"))


def _labels(data: Path) -> None:
    x, y, z = (n // 2 for n in GRID.shape)
    labels = torch.zeros(GRID.shape, dtype=torch.uint8)
    labels[x - 6 : x, y : y + 2, z : z + 2], labels[x : x + 6, y : y + 2, z : z + 2] = 1, 2
    write_volume(data / "labels.nii.gz", labels, GRID)
    write_label_names(data / "labels.tsv", label_table())


def _datasets(data: Path) -> None:
    for arm, seed in (("PI2", 5), ("DL3", 6)):
        folder = data / "raw_bids" / "sourcedata" / "sub-01" / "anat"
        folder.mkdir(parents=True, exist_ok=True)
        write_raw(folder / f"sub-01_acq-{arm}_MEGRE.h5", raw_scan(seed))
        write_scan(data / "image_bids", signal(seed), sub="01", acq=arm)
    describe_scans(data / "raw_bids", {"sub-01": 60})
    describe_scans(data / "image_bids", {"sub-01": 60})


def _recon(data: Path, name: str, *how: object) -> None:
    do("recon", data / "raw.h5", data / name, "--method", *how, "--overwrite", *SOON)


def _maps_of(data: Path, name: str, config: str, *how: object) -> None:
    do("qsm", data / name, "--recon", data / "recon", "--config", data / config, *how, "--overwrite", *SOON)


def _older_table(data: Path) -> None:
    named = ("--labels", data / "labels.nii.gz", "--names", data / "labels.tsv", "--participant", "sub-01")
    do("nuclei", data / "maps" / "Chimap.nii.gz", data / "older.tsv", *named, "--arm", "B", "--overwrite", *SOON)


def _finished(data: Path) -> None:
    do(*SCENARIOS["run_raw"].words(data, data / "study"))
    (data / "study" / "out").rename(data / "finished")


MAKERS: dict[str, Callable[[Path], None]] = {
    "settings": _settings,
    "raw": lambda data: write_raw(data / "raw.h5", raw_scan(5)),
    "labels": _labels,
    "datasets": _datasets,
    "table": lambda data: write_table(data / "table.tsv", cohort(6, rois=("Pu", "GPe"), arms=("PI2", "DL3"))),
    "dicom": lambda data: list(map(str, write_classic(data / "dicom", MadeSeries(parts=both())))) and None,
    "recon": lambda data: _recon(data, "recon", "zero"),
    "older_recon": lambda data: _recon(data, "older_recon", "zero", "--uncombined", "--virtual-coils", 2),
    "maps": lambda data: _maps_of(data, "maps", "quick.toml"),
    "older_maps": lambda data: _maps_of(data, "older_maps", "older.toml", "--uncertainty", 8),
    "older_table": _older_table,
    "finished": _finished,
}
"""What the scenarios need, in an order in which each can be made."""


def do(*words: object) -> None:
    """Run a command in this process, in silence; what it says is told where it fails."""
    said = StringIO()
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(said))
        stack.enter_context(redirect_stderr(said))
        code = main([str(word) for word in words])
    if code != 0:
        raise RuntimeError(f"{words}: {said.getvalue()}")
