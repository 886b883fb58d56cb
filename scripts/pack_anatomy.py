"""Write the template anatomy that virtual heads are made from to one file, for a machine without nilearn.

python scripts/pack_anatomy.py STATE        writes STATE/anatomy.npz (8 MB)
"""

import sys
from pathlib import Path

import numpy as np

from dlqsm.io.anatomy import load_anatomy


def main() -> None:
    """Run the script."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    anatomy = load_anatomy()
    path = folder / "anatomy.npz"
    np.savez_compressed(path, t1=anatomy.t1, gm=anatomy.gm, wm=anatomy.wm, affine=anatomy.grid.affine)
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
