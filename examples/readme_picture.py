"""The picture of the README: magnitude, local field, susceptibility and nuclei of the four arms of ``dlqsm demo``.

python examples/readme_picture.py DEMO_FOLDER docs/demo.png
"""

import sys
from pathlib import Path

from dlqsm.cli.report import read_report
from dlqsm.io.manifest import read_manifest
from dlqsm.report.figures import readme_picture

if __name__ == "__main__":
    demo, target = Path(sys.argv[1]), Path(sys.argv[2])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(readme_picture(read_report(demo, read_manifest(demo))))
    print(target)
