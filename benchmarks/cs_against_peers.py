"""Compressed sensing beside BART `pics` and SigPy on the same k-space and coil maps, and along the whole line.

    python benchmarks/cs_against_peers.py [--rows peers line] [--heads 3 4] [--accelerations 3 5]

`peers`: fully sampled virtual heads (protocol small, no motion), undersampled by dlqsm's Poisson-disk masks; all three
get the same samples and the same ESPIRiT maps. The strengths of all are scanned and the best result of each counts;
the default of `cs`, 0.15, is chosen by nuclei and not by images. BART and `cs` run twice: with one echo, and with all
eight under a threshold that joins them, which is what `cs` does by default; SigPy knows no joint threshold, so that its
image of the echo serves in both. The same echo is judged. Errors inside the brain are relative to the noise-free
image (`clean`) and to the fully sampled noisy one (`noisy`), combined with the same maps. Seconds are processor seconds
with one thread: of the child process for BART (user and system, reading its files included), of this process for SigPy
and `cs`, compiled before.

`line`: separate scans with motion (arms DL3, DL5), the paper's chain: errors of nuclei and field for each
reconstruction.

BART comes from Debian: where `bart` is absent this script runs `apt-get install -y bart`; where that fails, a row says
so. SigPy is `pip install sigpy`; where it is absent, a row says so.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import math
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from acceptance import PAPER_CHAIN, judge
from record import Record

from dlqsm.acquisition.head import Head, draw_participants, make_head
from dlqsm.acquisition.protocols import PROTOCOLS
from dlqsm.acquisition.sampling import poisson
from dlqsm.acquisition.virtual_scan import acquire
from dlqsm.core.fourier import fftc, ifftc
from dlqsm.core.raw import undersample
from dlqsm.io.anatomy import load_anatomy
from dlqsm.pipeline import map_susceptibility
from dlqsm.reconstruction.hybrid import HybridData, calibrate, to_hybrid
from dlqsm.reconstruction.linear import sense, zero
from dlqsm.reconstruction.reconstruct import reconstruct
from dlqsm.reconstruction.sensitivity import espirit
from dlqsm.reconstruction.sparse import PRIORS, cs

RESULTS = Path(__file__).parent / "results"
ECHO = 2
BART_STRENGTHS = (0.002, 0.005, 0.01, 0.02)
BART_JOINT_STRENGTHS = (0.005, 0.01, 0.02, 0.04)
BART_ECHO_FLAG = 32
SIGPY_STRENGTHS = (0.0005, 0.001, 0.003)
OWN_STRENGTHS = (0.15, 0.35, 0.42, 0.5)
ITERATIONS = 30
LINE = {
    "zero": ("zero", {}),
    "sense": ("sense", {}),
    **{f"cs {prior}": ("cs", {"prior": prior}) for prior in PRIORS},
    "cs wavelet, each coil": ("cs", {"coils": "each"}),
}


@dataclass(frozen=True)
class Problem:
    """Samples ``(echo, coil, x, ky, kz)``, maps, and the images they should give."""

    samples: torch.Tensor
    mask: torch.Tensor
    maps: torch.Tensor
    clean: torch.Tensor
    noisy: torch.Tensor
    brain: torch.Tensor

    def errors(self, image: torch.Tensor, echo: int) -> dict[str, float]:
        """NRMSE [%] of one echo inside the brain."""
        references = {"clean": self.clean[echo], "noisy": self.noisy[echo]}
        return {
            name: 100 * float((image - reference)[self.brain].norm() / reference[self.brain].norm())
            for name, reference in references.items()
        }


def pose_problems(head: Head, seed: int, accelerations: list[float]) -> Iterator[tuple[float, Problem]]:
    """The same scan undersampled, with its calibration, for each acceleration."""
    protocol = PROTOCOLS["small"].without_motion()
    noisy, clean = (acquire(head, replace(protocol, snr=snr), "FULL", seed) for snr in (protocol.snr, math.inf))
    for acceleration in accelerations:
        sampling = poisson(protocol.shape[1:], acceleration, 1000 + seed)
        raw = undersample(noisy.raw, sampling.mask, sampling.calibration)
        calibration = calibrate(raw)
        maps = espirit(calibration.kspace, calibration.lines, protocol.shape).slab(0, protocol.shape[0])
        hybrid = to_hybrid(raw, calibration)
        references = [combined(to_hybrid(scan.raw, calibration), maps) for scan in (clean, noisy)]
        samples = hybrid.slab(0, hybrid.n_planes)
        yield acceleration, Problem(samples, hybrid.sampling_mask, maps, *references, noisy.truth.mask)


def combined(hybrid: HybridData, maps: torch.Tensor) -> torch.Tensor:
    """Fully sampled images combined with the maps."""
    echoes = []
    for echo in range(hybrid.samples.shape[1]):
        coils = ifftc(hybrid.slab(0, hybrid.n_planes, slice(echo, echo + 1))[0], (-2, -1))
        echoes.append((coils * maps.conj()).sum(0))
    return torch.stack(echoes)


def peers(record: Record, head: Head, seed: int, accelerations: list[float]) -> None:
    """All methods on the problems of one head, with one echo and with eight."""
    bart, sigpy = find_bart(), importlib.util.find_spec("sigpy") is not None
    for acceleration, problem in pose_problems(head, seed, accelerations):
        about = {"seed": seed, "af": acceleration}
        tell = functools.partial(tell_errors, record, problem, **about)
        linear_methods(problem, tell)
        theirs_alone = scan_sigpy(problem, tell) if sigpy else math.inf
        for echoes in (slice(ECHO, ECHO + 1), slice(None)):
            ours, cpu_s = own_methods(problem, echoes, tell)
            best = theirs_alone
            if bart:
                by_bart, bart_cpu_s = scan_bart(bart, problem, echoes, tell)
                best = min(best, by_bart)
                record.add(
                    "peers",
                    "cs over BART, processor seconds",
                    cpu_s / bart_cpu_s,
                    bound=(0, 0.2),
                    method=_number(echoes),
                    **about,
                )
            if best < math.inf:
                record.add(
                    "peers", "cs over better peer, NRMSE", ours / best, bound=(0, 1), method=_number(echoes), **about
                )
        for name, there in (("BART could not be installed", bart), ("SigPy is absent", sigpy)):
            if not there:
                record.add("peers", name, math.nan, **about)


def _number(echoes: slice) -> str:
    return "one echo" if echoes.start is not None else "eight echoes"


def tell_errors(
    record: Record,
    problem: Problem,
    method: str,
    image: torch.Tensor,
    cpu_s: float,
    strength: float,
    *,
    seed: int,
    af: float,
) -> float:
    """Rows of one image; returns its error relative to the noise-free image [%]."""
    about = {"seed": seed, "af": af, "method": method, "strength": strength, "cpu_s_per_echo": round(cpu_s, 3)}
    errors = problem.errors(image, ECHO)
    for name, value in errors.items():
        record.add("peers", f"NRMSE {name} %", value, **about)
    return errors["clean"]


def linear_methods(problem: Problem, tell) -> None:
    """Zero-filled, SENSE, and the fully sampled noisy image, of one echo."""
    one = (problem.samples[ECHO : ECHO + 1], problem.mask, problem.maps, 1.0)
    tell("fully sampled, noisy", problem.noisy[ECHO], 0.0, math.nan)
    for name, method in (("zero", zero), ("sense", sense)):
        result, cpu_s = timed(method, *one)
        tell(name, result[0, 0] if name == "sense" else (result[0] * problem.maps.conj()).sum(0), cpu_s, math.nan)


def own_methods(problem: Problem, echoes: slice, tell) -> tuple[float, float]:
    """Error and seconds of the best `cs` with wavelets; beside it, with all echoes, the prior that adds low rank."""
    samples, number = problem.samples[echoes], _number(echoes)
    problem_of = (samples, problem.mask, problem.maps, 1.0)
    judged = min(ECHO, len(samples) - 1)
    cs(samples[:1], *problem_of[1:], max_iterations=1)
    found = []
    for strength in OWN_STRENGTHS:
        result, cpu_s = timed(cs, *problem_of, strength=strength)
        cpu_s /= len(samples)
        found.append((tell(f"cs wavelet, {number}", result[judged, 0], cpu_s, strength), cpu_s))
    if len(samples) > 1:
        result, cpu_s = timed(cs, *problem_of, prior="wavelet+llr", strength=0.35)
        tell(f"cs wavelet+llr, {number}", result[judged, 0], cpu_s / len(samples), 0.35)
    return min(found)


def timed(method, *values, **options) -> tuple[torch.Tensor, float]:
    """Result and processor seconds."""
    start = time.process_time()
    result = method(*values, **options)
    return result, time.process_time() - start


def find_bart() -> str | None:
    """Path of BART's program, installed from Debian where it is absent; None where that fails."""
    if shutil.which("bart") is None and shutil.which("apt-get") is not None:
        print("bart is absent: apt-get install -y bart", flush=True)
        subprocess.run(["apt-get", "install", "-y", "bart"], check=False, capture_output=True)
    return shutil.which("bart")


def scan_bart(bart: str, problem: Problem, echoes: slice, tell) -> tuple[float, float]:
    """L1-wavelet reconstruction at each strength, echoes joined: best error, and processor seconds an echo."""
    found = []
    samples = problem.samples[echoes]
    joint = len(samples) > 1
    with tempfile.TemporaryDirectory() as folder:
        kspace, maps, image = (Path(folder) / name for name in ("kspace", "maps", "image"))
        write_cfl(kspace, fftc(samples, (2,)))
        write_cfl(maps, problem.maps.unsqueeze(0))
        for strength in BART_JOINT_STRENGTHS if joint else BART_STRENGTHS:
            prior = f"W:7:{BART_ECHO_FLAG if joint else 0}:{strength}"
            words = ["pics", "-S", "-R", prior, "-i", str(ITERATIONS), kspace, maps, image]
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(
                [bart, *map(str, words)], check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu_s = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / len(samples)
            result = read_cfl(image)
            name = f"BART pics, {_number(echoes)}"
            found.append((tell(name, result[..., ECHO] if joint else result, cpu_s, strength), cpu_s))
    return min(found)


def write_cfl(path: Path, images: torch.Tensor) -> None:
    """Write ``(echo, coil, x, y, z)`` as BART's x, y, z, coil, maps, echo."""
    array = images.permute(2, 3, 4, 1, 0).numpy().astype(np.complex64)
    sizes = [*array.shape[:4], 1, array.shape[4], *(1,) * 10]
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, sizes)) + "\n")
    array.ravel(order="F").tofile(path.with_suffix(".cfl"))


def read_cfl(path: Path) -> torch.Tensor:
    """Read ``(x, y, z)``, or ``(x, y, z, echo)`` where there are several echoes."""
    sizes = [int(n) for n in path.with_suffix(".hdr").read_text().splitlines()[1].split()]
    values = np.fromfile(path.with_suffix(".cfl"), np.complex64).reshape(sizes, order="F")
    return torch.from_numpy(np.ascontiguousarray(values.squeeze()))


def scan_sigpy(problem: Problem, tell) -> float:
    """L1-wavelet reconstruction of one echo at each strength: best error."""
    from sigpy.mri.app import L1WaveletRecon

    kspace = fftc(problem.samples[ECHO], (1,)).numpy()
    scale = float((ifftc(problem.samples[ECHO], (-2, -1)) * problem.maps.conj()).sum(0).abs().max())
    found = []
    for strength in SIGPY_STRENGTHS:
        run = L1WaveletRecon(kspace / scale, problem.maps.numpy(), strength, max_iter=ITERATIONS, show_pbar=False)
        result, cpu_s = timed(run.run)
        found.append(tell("SigPy", scale * torch.from_numpy(result), cpu_s, strength))
    return min(found)


def line(record: Record, head: Head, seed: int, accelerations: list[float]) -> None:
    """Nuclei and field of separate scans with motion."""
    for acceleration in accelerations:
        scan = acquire(head, PROTOCOLS["small"].with_straight_heads(), f"DL{acceleration:g}", seed)
        for name, (method, options) in LINE.items():
            start = time.process_time()
            images = reconstruct(scan.raw, method, options)
            cpu_s = time.process_time() - start
            judged = judge(map_susceptibility(images.lag_sums, scan.raw.header.scan, PAPER_CHAIN), scan.truth)
            about = {"seed": seed, "af": acceleration, "method": name, "recon_cpu_s": round(cpu_s, 1)}
            record.add("line", "mean absolute nucleus error ppb", judged.mean_abs, **about)
            record.add("line", "worst nucleus error ppb", judged.worst, **about)
            record.add("line", "brain RMSE ppb", judged.rmse_ppb, **about)
            record.add("line", "field RMSE Hz", judged.field_rmse_hz, **about)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=("peers", "line"), default=["peers", "line"])
    parser.add_argument("--heads", type=int, nargs="+", default=[3, 4, 5])
    parser.add_argument("--accelerations", type=float, nargs="+", default=[3.0, 5.0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    records = {"peers": Record(arguments.out / "cs_against_peers.tsv"), "line": Record(arguments.out / "cs_line.tsv")}
    participants, anatomy = draw_participants(max(arguments.heads) + 1, 2025), load_anatomy()
    for seed in arguments.heads:
        head = make_head(anatomy, participants[seed])
        for rows in arguments.rows:
            {"peers": peers, "line": line}[rows](records[rows], head, seed, arguments.accelerations)
    return 1 if any(record.failed for record in records.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
