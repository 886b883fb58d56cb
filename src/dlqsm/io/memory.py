"""Memory that a process took, for the record."""

import resource
import sys


def peak_memory_mb() -> float:
    """Peak resident size of this process [MB]."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
