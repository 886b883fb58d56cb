"""Reconstruction with a sparse prior: compressed sensing."""

from dlqsm.reconstruction.sparse.cs import PRIORS, cs

__all__ = ["PRIORS", "cs"]
