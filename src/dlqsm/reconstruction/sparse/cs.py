"""Compressed sensing of slabs: the samples' fit plus a sparse prior, in units of the noise."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

from dlqsm.core.checks import InputError, require_choice, require_stop
from dlqsm.core.threads import one_thread
from dlqsm.reconstruction.sparse.encoding import Encoding, combined_encoding, separate_encoding
from dlqsm.reconstruction.sparse.low_rank import BLOCK, shrink_blocks
from dlqsm.reconstruction.sparse.solver import Prox, proximal_gradient
from dlqsm.reconstruction.sparse.total_variation import TotalVariation
from dlqsm.reconstruction.sparse.wavelets import draw_shifts, shrink_details

PRIORS: Final[dict[str, float]] = {"wavelet": 0.15, "tv": 0.12, "llr": 0.1, "wavelet+llr": 0.15}
"""Strength of each prior in multiples of the noise. That of the wavelets was chosen by nuclei and field on one virtual
head kept for tuning (arm DL5): 0.1, 0.2, 0.35 gave nuclei 6.1, 7.6, 10.2 ppb from the truth and field errors of 0.57,
0.49, 0.46 Hz, where sense gave 7.9 ppb and 0.81 Hz; 0.15 lies between, and on a second head 0.1, 0.15, 0.25 gave 5.2,
5.5, 6.0 ppb (DL3) and 9.2, 9.6, 11.1 ppb (DL5). Images are best at two to three times the strength. There, on another
scan (DL5, ``wavelet`` 8.2 ppb, 0.55 Hz), ``llr`` at 0.05, 0.1, 0.2 left 8.0, 8.3, 9.1 ppb and 0.68, 0.60, 0.55 Hz, and
``wavelet+llr`` at 0.1, 0.15, 0.25 8.1, 7.8, 8.2 ppb and 0.63, 0.57, 0.52 Hz; ``tv`` at
0.06, 0.12 left 6.9, 7.2 ppb and 0.59, 0.53 Hz, the best there, in four times the time of ``wavelet``."""
COILS: Final = ("sense", "each")
_EARLY_ITERATIONS = 10
_EARLY_EXCESS = 3.0
_LOW_RANK_SHARE = 0.4


def cs(
    hybrid_slab: torch.Tensor,
    sampling_mask: torch.Tensor,
    sensitivity_maps: torch.Tensor,
    noise: float,
    *,
    prior: str = "wavelet",
    coils: str = "sense",
    strength: float | None = None,
    max_iterations: int = 20,
    tolerance: float = 1e-3,
) -> torch.Tensor:
    """Image that explains the samples and is sparse, by compressed sensing.

    Minimises 1/2 |E x - y|^2 + strength * noise * g(x), E = M F S (or M F for each coil). g is the sum over Haar
    details, averaged over shifts, of sqrt(echoes) times their norm over echoes (``wavelet``); the total variation
    (``tv``); or the nuclear norm of the echoes of blocks (``llr``). ``wavelet+llr`` applies the proximal maps of both
    in turn, which minimises no stated sum. Hybrid data are white with a known noise, so one strength serves all scans.
    The first ten iterations start with up to four times the weight, which finds the large structures sooner.

    Parameters
    ----------
    hybrid_slab
        ``(echo, coil, x, ky, kz)``, white noise, zero where not sampled.
    sampling_mask
        Sampled cells, ``(ky, kz)`` bool.
    sensitivity_maps
        ``(coil, x, y, z)`` with sum over coils of |S|^2 = 1, or zero in the background.
    noise
        Standard deviation of one component of the samples.
    prior
        What is taken to be simple: wavelet, tv (total variation), llr (locally low rank over echoes) or wavelet+llr.
    coils
        sense makes one image of all coils, each reconstructs every coil by itself.
    strength
        Weight of the prior in multiples of the noise; where none is given 0.15 for wavelet, 0.12 for tv, 0.1 for
        llr, 0.15 for wavelet+llr; two to three times as much gives better images and worse nuclei.
    max_iterations
        Most iterations.
    tolerance
        Relative change of the images at which the iteration ends.

    Returns
    -------
    Images ``(echo, 1, x, y, z)``, or ``(echo, coil, x, y, z)`` where coils are kept apart.

    Raises
    ------
    InputError
        If prior or coils are unknown, or an option is out of range.

    References
    ----------
    Lustig et al., Magn Reson Med 58:1182 (2007), doi:10.1002/mrm.21391.
    """
    require_choice("prior", prior, PRIORS)
    require_choice("way to treat coils", coils, COILS)
    require_stop(tolerance, max_iterations)
    chosen = PRIORS[prior] if strength is None else strength
    if not 0.0 <= chosen < float("inf"):
        raise InputError(f"the strength of cs must be zero or more, in multiples of the noise; got {chosen}")
    encoding = _encoding(coils, hybrid_slab, sampling_mask, sensitivity_maps)
    right_side = encoding.right_side(hybrid_slab)
    weights = [chosen * noise * _early(iteration) for iteration in range(max_iterations)]
    with one_thread():  # for planes this small two took 72 s where one takes 40 s
        images, _ = proximal_gradient(
            encoding.normal,
            right_side,
            _prox(prior, max_iterations),
            weights,
            start=right_side,
            tolerance=tolerance,
            # Each iteration has cells of its own; the mean of two shows their borders less.
            mean_of_last_two=prior != "tv",
        )
    # Where no coil sees anything the prior alone has continued the image.
    return images if encoding.maps is None else images * (sensitivity_maps != 0).any(0)


def _encoding(
    coils: str, hybrid_slab: torch.Tensor, sampling_mask: torch.Tensor, sensitivity_maps: torch.Tensor
) -> Encoding:
    if coils == "sense":
        return combined_encoding(sensitivity_maps, sampling_mask)
    return separate_encoding(hybrid_slab, sampling_mask)


def _early(iteration: int) -> float:
    """Factor on the weight: 4 at first, 1 from the tenth iteration on."""
    return 1.0 + _EARLY_EXCESS * max(0.0, 1.0 - iteration / _EARLY_ITERATIONS)


def _n_shifts(iteration: int, n_iterations: int) -> int:
    """Shifts of the wavelets' cells in an iteration: few at first; five at last, whose borders the image would show.

    At an acceleration of 5 this gave images of 5.76 % error (one echo of two heads, strength 0.42), two and six instead
    of three and five, begun later, 5.92 %.
    """
    progress = iteration / n_iterations
    return 1 if progress < 0.3 else 3 if progress < 0.6 else 5


def _prox(prior: str, max_iterations: int) -> Prox:
    # The same shifts in every slab and every echo, so that repeats are identical.
    random = np.random.default_rng(0)

    def sparse(images: torch.Tensor, threshold: float, iteration: int) -> torch.Tensor:
        shifts = draw_shifts(_n_shifts(iteration, max_iterations), random)
        channels = [shrink_details(channel, threshold, shifts, joint=True) for channel in images.unbind(1)]
        return torch.stack(channels, 1)

    def wavelet(images: torch.Tensor, weight: float, iteration: int) -> torch.Tensor:
        return sparse(images, weight * len(images) ** 0.5, iteration)

    def llr(images: torch.Tensor, weight: float, iteration: int) -> torch.Tensor:
        x, y, z = (int(random.integers(edge)) for edge in BLOCK)
        return shrink_blocks(images, weight, (x, y, z))

    def both(images: torch.Tensor, weight: float, iteration: int) -> torch.Tensor:
        return sparse(llr(images, _LOW_RANK_SHARE * weight, iteration), weight, iteration)

    priors: dict[str, Prox] = {"wavelet": wavelet, "tv": TotalVariation(), "llr": llr, "wavelet+llr": both}
    return priors[prior]
