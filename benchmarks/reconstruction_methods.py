"""Methods that `reconstruction.py` compares: ours, BART's, SigPy's, the networks; with seconds and memory of a run."""

from __future__ import annotations

import ctypes
import fnmatch
import functools
import gc
import hashlib
import importlib.util
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from cs_against_peers import BART_ECHO_FLAG, ITERATIONS, find_bart, read_cfl, write_cfl
from reconstruction_heads import Problem

from dlqsm.core.checks import InputError
from dlqsm.core.fourier import fftc, ifftc
from dlqsm.reconstruction import RECONSTRUCTIONS
from dlqsm.reconstruction.combine import roemer
from dlqsm.reconstruction.learned import NETWORKS
from dlqsm.reconstruction.learned.weights import describe_weights, is_shipped, load_network, read_card, weights_file
from dlqsm.reconstruction.sparse import PRIORS, cs

PROBLEM_NOISE = 1.0
CASCADE_ACCELERATIONS = (3.0, 4.0, 5.0)
OWN_STRENGTHS = {
    "wavelet": (0.08, 0.15, 0.25, 0.35, 0.5, 0.7, 1.0),
    "tv": (0.06, 0.12, 0.2, 0.3, 0.45, 0.7),
    "llr": (0.05, 0.1, 0.2, 0.35, 0.5, 0.8),
    "wavelet+llr": (0.08, 0.15, 0.25, 0.35, 0.5, 0.7, 1.0),
}
BART_STRENGTHS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.04)
BART_JOINT_STRENGTHS = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08)
BART_LOW_RANK_STRENGTHS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02)
SIGPY_STRENGTHS = (0.0001, 0.0002, 0.0005, 0.001, 0.003, 0.01)
FULL = "fully sampled, noisy"


@dataclass(frozen=True)
class Run:
    """Images ``(echo, channel, x, y, z)``, seconds, and memory beyond what was there before [MB]."""

    channels: torch.Tensor
    wall_s: float
    cpu_s: float
    peak_mb: float


@dataclass(frozen=True)
class Method:
    """A way to reconstruct a `Problem`.

    Parameters
    ----------
    run
        Reconstructs with a strength (None where there is none).
    strengths
        Those that are scanned.
    kind
        reference, own, peer or learned.
    accelerations
        Where it is run; everywhere where empty.
    weights
        What identifies the weights of a network.
    """

    run: Callable[[Problem, float | None], Run]
    strengths: Sequence[float] = ()
    kind: str = "own"
    accelerations: Sequence[float] = ()
    weights: str = ""


def methods_at_hand(files: Sequence[Path], device: torch.device, *, peers: bool) -> dict[str, Method]:
    """Every method that can be run here; tells which cannot."""
    found = {FULL: Method(lambda problem, strength: Run(problem.noisy, 0.0, 0.0, 0.0), kind="reference")}
    for name in ("zero", "sense"):
        found[name] = Method(functools.partial(_ours, name, {}, torch.device("cpu")))
    for prior in PRIORS:
        run = functools.partial(_ours, "cs", {"prior": prior}, torch.device("cpu"))
        found[f"cs {prior}"] = Method(run, OWN_STRENGTHS[prior])
    each = functools.partial(_ours, "cs", {"coils": "each"}, torch.device("cpu"))
    found["cs wavelet, each coil"] = Method(each, OWN_STRENGTHS["wavelet"], accelerations=CASCADE_ACCELERATIONS)
    return found | (_peers() if peers else {}) | _learned(files, device)


def _peers() -> dict[str, Method]:
    found = {}
    bart = find_bart()
    if bart:
        forms = {
            "L1 wavelet": ("W:7:0:{}", BART_STRENGTHS),
            "L1 wavelet, joint echoes": (f"W:7:{BART_ECHO_FLAG}:{{}}", BART_JOINT_STRENGTHS),
            "locally low rank": ("L:7:7:{}", BART_LOW_RANK_STRENGTHS),
        }
        for name, (form, strengths) in forms.items():
            found[f"BART {name}"] = Method(functools.partial(_bart, bart, form), strengths, "peer")
    else:
        print("BART could not be installed: its rows are absent")
    if importlib.util.find_spec("sigpy"):
        found["SigPy L1 wavelet"] = Method(_sigpy, SIGPY_STRENGTHS, "peer")
    else:
        print("SigPy is absent (pip install sigpy): its rows are absent")
    return found


def _learned(files: Sequence[Path], device: torch.device) -> dict[str, Method]:
    """Networks: those of the files, and those in the package for which no file is given."""
    chosen: list[tuple[str, str | None]] = [(_network_of(file), str(file)) for file in files]
    given = {name for name, _ in chosen}
    for name in NETWORKS:
        if name not in given and is_shipped(name):
            chosen.append((name, None))
        elif name not in given:
            print(f"no weights of '{name}' are shipped or given with --weights: its rows are absent")
    found = {}
    for name, file in chosen:
        # PyTorch's networks are read before the clock runs.
        load_network(NETWORKS[name], file, device)
        sha = describe_weights(name, file)["sha256"][:8]
        many = sum(name == other for other, _ in chosen) > 1
        for consistency in ("soft", "exact"):
            options = {"weights": file, "consistency": consistency}
            label = f"{name}{' ' + sha if many else ''}{', exact' if consistency == 'exact' else ''}"
            where = CASCADE_ACCELERATIONS if name == "cascade" else ()
            run = functools.partial(_ours, name, options, device)
            found[label] = Method(run, kind="learned", accelerations=where, weights=sha)
    return found


def _network_of(file: Path) -> str:
    for name in NETWORKS:
        try:
            describe_weights(name, file)
        except InputError as error:
            said = error
        else:
            return name
    raise SystemExit(str(said))


def weights_of(files: Sequence[Path]) -> dict[str, str | None]:
    """File of each network that can be run, None for the one in the package."""
    found: dict[str, str | None] = {name: None for name in NETWORKS if is_shipped(name)}
    return found | {_network_of(file): str(file) for file in files}


def training_seeds(files: Sequence[Path]) -> set[int]:
    """Seeds of the recipes of the weights, and 0, the seed of who names none."""
    shipped = [weights_file(name, None) for name in NETWORKS if is_shipped(name)]
    cards = [read_card(path) for path in (*files, *shipped)]
    return {0, *(int(card.get("recipe", {}).get("seed", 0)) for card in cards)}


def _ours(name: str, options: dict[str, object], device: torch.device, problem: Problem, strength: float | None) -> Run:
    chosen = options if strength is None else options | {"strength": strength}
    values = [value.to(device) for value in (problem.samples, problem.mask, problem.maps)]
    with watched(device) as took:
        channels = RECONSTRUCTIONS[name](*values, PROBLEM_NOISE, **chosen)
    return Run(channels.cpu(), **took)


@contextmanager
def watched(device: torch.device) -> Iterator[dict[str, float]]:
    """Wall and processor seconds and additional memory of a block, in the yielded dict once it ends."""
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
        torch.cuda.synchronize(device)
    before, took = torch.cuda.memory_allocated(device) / 2**20 if cuda else reset_peak_mb(), {}
    wall, cpu = time.perf_counter(), time.process_time()
    yield took
    if cuda:
        torch.cuda.synchronize(device)
    took.update(wall_s=time.perf_counter() - wall, cpu_s=time.process_time() - cpu)
    took["peak_mb"] = (torch.cuda.max_memory_allocated(device) / 2**20 if cuda else status_mb("VmHWM")) - before


def reset_peak_mb() -> float:
    """Let the peak of this process's memory start anew; returns what it holds now [MB] (NaN outside Linux)."""
    try:
        # Memory that was freed but kept by the allocator would hide what the run takes again.
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return float("nan")
    return status_mb("VmRSS")


def status_mb(name: str) -> float:
    """A size from Linux's account of this process [MB]; NaN elsewhere."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return float("nan")
    line = next(line for line in status.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024


def _bart(bart: str, form: str, problem: Problem, strength: float | None) -> Run:
    """BART pics of all echoes at once; seconds and memory are the child's, its files included."""
    with tempfile.TemporaryDirectory() as folder:
        kspace, maps, image = (Path(folder) / name for name in ("kspace", "maps", "image"))
        write_cfl(kspace, fftc(problem.samples, (2,)))
        write_cfl(maps, problem.maps.unsqueeze(0))
        words = ["pics", "-S", "-R", form.format(strength), "-i", str(ITERATIONS), kspace, maps, image]
        start = time.perf_counter()
        child = subprocess.Popen(
            [bart, *map(str, words)], stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, child.args)
        images = read_cfl(image).movedim(-1, 0).unsqueeze(1)
        return Run(images, time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def _sigpy(problem: Problem, strength: float | None) -> Run:
    """SigPy echo by echo; one scale for all echoes, so that the strength is the same multiple of the noise."""
    from sigpy.mri.app import L1WaveletRecon

    scale = float(roemer(ifftc(problem.samples[:1], (-2, -1)), problem.maps).abs().max())
    maps, echoes = problem.maps.numpy(), []
    with watched(torch.device("cpu")) as took:
        for samples in problem.samples:
            kspace = fftc(samples, (1,)).numpy() / scale
            app = L1WaveletRecon(kspace, maps, strength, max_iter=ITERATIONS, show_pbar=False)
            echoes.append(scale * torch.from_numpy(app.run()))
    return Run(torch.stack(echoes).unsqueeze(1), **took)


def warm_up(problem: Problem, methods: dict[str, Method]) -> None:
    """Compile what is compiled on first use, so that the clock does not see it."""
    for prior in PRIORS:
        if f"cs {prior}" in methods:
            cs(problem.samples[:2], problem.mask, problem.maps, PROBLEM_NOISE, prior=prior, max_iterations=1)


def is_wanted(name: str, patterns: Sequence[str] | None) -> bool:
    """Whether a method's name is one of those asked for, which may hold ``*``; all are where none is."""
    return patterns is None or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def fingerprint(file: Path) -> str:
    """First eight digits of a file's SHA-256."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:8]
