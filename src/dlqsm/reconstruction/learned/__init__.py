"""Learned reconstructions: networks, their weights, and the methods that run them."""

from typing import Final

from dlqsm.reconstruction.learned.cascade import CascadeNetwork, cascade
from dlqsm.reconstruction.learned.joint import JointNetwork, joint
from dlqsm.reconstruction.learned.weights import Network

NETWORKS: Final[dict[str, type[Network]]] = {"cascade": CascadeNetwork, "joint": JointNetwork}
"""Each network under the name of the method that runs it."""

__all__ = ["NETWORKS", "cascade", "joint"]
