"""dlqsm: from accelerated multi-echo GRE k-space to susceptibility values of the deep brain nuclei.

The steps are sub-packages in the order of the data: ``acquisition``, ``reconstruction``, ``qsm``, ``nuclei``,
``agreement``, ``report``; files are read and written in ``io``; ``pipeline`` joins them.
"""

__all__ = ["__version__"]
__version__ = "0.1.0"
