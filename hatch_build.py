"""Record the commit in what is built: an installed package has no checkout that `dlqsm --version` could ask."""

import runpy
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

CHECKOUT = runpy.run_path(str(Path(__file__).parent / "src" / "dlqsm" / "io" / "checkout.py"), run_name="checkout")


class RecordCommit(BuildHookInterface):
    """Add ``commit.txt`` to the package of a wheel or a source archive.

    Without git nothing is added: a wheel made of a source archive takes the record that lies in it.
    """

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the record outside the tree and tell the builder where it belongs; an editable install asks git."""
        self._scratch = Path(tempfile.mkdtemp(prefix="dlqsm-build-"))
        commit = None if version == "editable" else CHECKOUT["commit_of_checkout"](Path(self.root))
        if commit is not None:
            record = self._scratch / CHECKOUT["RECORDED"]
            record.write_text(commit.as_text(), encoding="utf-8")
            package = "dlqsm" if self.target_name == "wheel" else "src/dlqsm"
            build_data["force_include"][str(record)] = f"{package}/{record.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the record: it is in the archive now."""
        del version, build_data, artifact_path
        shutil.rmtree(self._scratch)
