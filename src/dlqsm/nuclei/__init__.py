"""From a susceptibility map and labels to region values."""
