"""The command line."""


def main() -> int:
    """Run dlqsm."""
    return 0
