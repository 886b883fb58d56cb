"""The deep brain nuclei: names, order, label numbers and colours, the same in simulation, atlas, tables and figures."""

from typing import Final

NUCLEI: Final = ("Pu", "Ca", "GPe", "GPi", "RN", "SNc", "SNr")
SIDES: Final = ("left", "right")
FULL_NAMES: Final = {
    "Pu": "putamen",
    "Ca": "caudate nucleus",
    "GPe": "globus pallidus externa",
    "GPi": "globus pallidus interna",
    "RN": "red nucleus",
    "SNc": "substantia nigra, pars compacta",
    "SNr": "substantia nigra, pars reticulata",
}
COLOURS: Final = {
    "Pu": "#4477AA",
    "Ca": "#66CCEE",
    "GPe": "#228833",
    "GPi": "#CCBB44",
    "RN": "#EE6677",
    "SNc": "#AA3377",
    "SNr": "#BBBBBB",
}
"""Paul Tol's bright scheme: told apart by colour-blind readers."""


def label_table() -> dict[int, tuple[str, str]]:
    """Label number to (nucleus, side): left 1 .. 7, right 8 .. 14, nuclei in the order of `NUCLEI`."""
    pairs = [(nucleus, side) for side in SIDES for nucleus in NUCLEI]
    return dict(enumerate(pairs, start=1))
