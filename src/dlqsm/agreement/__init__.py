"""How well two maps, or two series of region values, agree."""
