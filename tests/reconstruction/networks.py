"""Networks whose weights are random but not zero, so that every part of them matters."""

from pathlib import Path
from typing import Any

import torch

from dlqsm.reconstruction.learned import NETWORKS
from dlqsm.reconstruction.learned.weights import save_network

SMALL: dict[str, dict[str, Any]] = {
    "cascade": {"features": 6, "x_extents": (1, 3, 3), "n_blocks": 2},
    "joint": {"features": 4, "coarse_features": 6, "start_iterations": 4},
}


def random_network(name: str, seed: int = 3, **settings) -> Any:
    """A small network; what training would start at zero is random too."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network: Any = NETWORKS[name](**{**SMALL[name], **settings})
        for value in network.parameters():
            if not value.any():
                torch.nn.init.normal_(value, std=0.1)
        if name == "cascade":
            # Samples count for about as much as the network.
            torch.nn.init.constant_(network.log_weights, -0.5)
    return network


def options_with_weights(method: str, folder: Path, **settings) -> dict[str, str]:
    """Options that name a file of random weights, where the method is a network."""
    if method not in NETWORKS:
        return {}
    path = folder / f"{method}.safetensors"
    save_network(path, random_network(method, **settings), {"data": "none"})
    return {"weights": str(path)}
