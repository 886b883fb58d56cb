"""Penalties on gradients minimised by splitting them off (ADMM), for background removal and inversion alike."""
