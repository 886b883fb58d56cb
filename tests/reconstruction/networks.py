"""Networks whose weights are random but not zero, so that every part of them matters."""

from pathlib import Path

import torch

from dlqsm.reconstruction.learned.cascade import CascadeNetwork
from dlqsm.reconstruction.learned.weights import save_network

SMALL = {"features": 6, "x_extents": (1, 3, 3), "n_blocks": 2}
"""Two planes of halo a block."""


def random_cascade(seed: int = 3, **settings) -> CascadeNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = CascadeNetwork(**{**SMALL, **settings})
        for name, value in network.named_parameters():
            if name.endswith("bias") or f".{len(network.settings['x_extents']) - 1}." in name:
                torch.nn.init.normal_(value, std=0.1)
        torch.nn.init.constant_(network.log_weights, -0.5)
    return network


def options_with_weights(method: str, folder: Path, **settings) -> dict[str, str]:
    """Options that name a file of random weights, where the method is a network."""
    if method not in RANDOM:
        return {}
    path = folder / f"{method}.safetensors"
    save_network(path, RANDOM[method](**settings), {"data": "none"})
    return {"weights": str(path)}


RANDOM = {"cascade": random_cascade}
