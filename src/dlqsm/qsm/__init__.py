"""From multi-echo images to susceptibility."""
