"""The MNI152 templates that ship inside nilearn: no download, no path."""

import numpy as np
from nilearn import datasets

from dlqsm.core.anatomy import Anatomy
from dlqsm.core.scan import Grid


def load_anatomy() -> Anatomy:
    """Load the MNI152 (ICBM 2009a nonlinear symmetric) T1, grey and white matter templates at 1 mm.

    References
    ----------
    Fonov et al., NeuroImage 54:313 (2011), doi:10.1016/j.neuroimage.2010.07.033.
    """
    images = [
        load(resolution=1)
        for load in (
            datasets.load_mni152_template,
            datasets.load_mni152_gm_template,
            datasets.load_mni152_wm_template,
        )
    ]
    t1, gm, wm = (np.asarray(image.dataobj, dtype=np.float32) for image in images)
    return Anatomy(t1, gm, wm, Grid.from_affine(t1.shape, images[0].affine))
