"""A whole dataset: stages of each participant with their records, then the group."""
