"""The flow, one page a part: lag sums to susceptibility, maps and an atlas to nuclei."""

from dlqsm.pipeline.susceptibility import QsmMaps, Report, map_susceptibility, sums_of_images

__all__ = ["QsmMaps", "Report", "map_susceptibility", "sums_of_images"]
