"""Training of the learned reconstructions: slabs of k-space, random scans of them, losses, and the loop."""
