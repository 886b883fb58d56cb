"""The rules of ARCHITECTURE.md: layers, homes of outside packages, sizes, one home of constants."""

import ast
from pathlib import Path

import pytest
import scipy.constants

import dlqsm
from dlqsm.core import units

PACKAGE = Path(dlqsm.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
STEPS = ("acquisition", "reconstruction", "qsm", "nuclei", "agreement", "report", "io")
LAYERS = {"core": 0, **dict.fromkeys(STEPS, 1), "config": 2, "pipeline": 3, "cohort": 4, "cli": 5}
HOMES = {
    "nibabel": ("io",),
    "h5py": ("io",),
    "ismrmrd": ("io",),
    "nilearn": ("io",),
    "matplotlib": ("report",),
    "jinja2": ("report",),
    "ants": ("nuclei",),
    "safetensors": ("reconstruction",),
    "statsmodels": ("agreement",),
    "templateflow": ("io",),
    "argparse": ("cli",),
    "rich": ("cli",),
    "shtab": ("cli",),
    "numba": ("core", "acquisition", "reconstruction", "qsm", "cli"),
    "skimage": ("agreement", "report"),
    "PIL": ("report",),
    "dask": ("cohort",),
    "distributed": ("cohort",),
    "dask_jobqueue": ("cohort",),
    "psutil": ("io",),
    "pydicom": ("io",),
    "dcm2niix": ("io",),
    "twixtools": ("io",),
}
NUMERIC_ONLY = ("core", "acquisition", "reconstruction")
NUMERIC = {"torch", "numpy", "scipy", "numba", "dlqsm"}
NUMERIC_BESIDES = {"reconstruction": {"safetensors", "json", "importlib", "pickle"}}
"""Weights of networks are tensors and JSON, read from the package; of pickle only the name of an error is needed."""
LONGEST_FILE, LONGEST_FUNCTION = 330, 60


def _part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            found |= {f"{module}.{alias.name}" for alias in node.names} if module == "dlqsm" else {module}
    return found


def _own(path: Path) -> set[str]:
    return {name.split(".")[1] for name in _imports(path) if name.startswith("dlqsm.")} - {"__version__"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
class TestEveryFile:
    def test_imports_go_one_way(self, path: Path) -> None:
        part = _part(path)
        if part == "__init__":
            assert not _own(path)
            return
        for imported in _own(path):
            below = LAYERS[imported] < LAYERS[part]
            assert imported == part or below, f"{part} imports {imported}"

    def test_outside_packages_stay_at_home(self, path: Path) -> None:
        outside = {name.split(".")[0] for name in _imports(path)}
        for package, homes in HOMES.items():
            assert package not in outside or _part(path) in homes, f"{package} is imported in {_part(path)}"

    def test_training_needs_no_more_than_torch_numpy_scipy_numba_safetensors(self, path: Path) -> None:
        if _part(path) not in NUMERIC_ONLY:
            return
        outside = {name.split(".")[0] for name in _imports(path)}
        standard = {"__future__", "abc", "collections", "dataclasses", "enum", "functools", "inspect", "itertools"}
        standard |= {"math", "pathlib", "re", "tempfile", "time", "types", "typing", "warnings", "contextlib", "zlib"}
        standard |= {"hashlib", "mmap", "os", "operator", "concurrent"}
        assert outside <= NUMERIC | standard | NUMERIC_BESIDES.get(_part(path), set())

    def test_no_import_hides_in_a_function(self, path: Path) -> None:
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                inner = [node for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom)]
                assert not inner, f"{function.name} imports inside"

    def test_nothing_is_unpickled(self, path: Path) -> None:
        for node in ast.walk(ast.parse(path.read_text())):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert not name.startswith("pickle."), f"{path.name} calls {name}"
            if name == "torch.load":
                safe = [
                    word for word in node.keywords if word.arg == "weights_only" and ast.unparse(word.value) == "True"
                ]
                assert safe, f"{path.name} calls torch.load without weights_only=True"

    def test_sizes(self, path: Path) -> None:
        text = path.read_text()
        assert text.count("\n") <= LONGEST_FILE
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                doc = ast.get_docstring(node, clean=False)
                length = (node.end_lineno or 0) - node.lineno + 1 - (doc.count("\n") + 1 if doc else 0)
                assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines"

    def test_constants_have_one_home(self, path: Path) -> None:
        if path.name == "units.py":
            return
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, float):
                magnitude = f"{abs(node.value):e}"
                assert not magnitude.startswith(("4.257", "2.675")), f"gyromagnetic ratio in {path.name}"


@pytest.mark.parametrize(
    ("earlier", "later"),
    [("splitting", "background"), ("splitting", "inversion"), ("background", "inversion")],
)
def test_the_steps_of_qsm_follow_each_other(earlier: str, later: str) -> None:
    for path in (PACKAGE / "qsm" / earlier).glob("*.py"):
        later_ones = [name for name in _imports(path) if name.startswith(f"dlqsm.qsm.{later}")]
        assert not later_ones, f"{path.name} imports {later_ones}"


def test_the_gyromagnetic_ratio_is_codatas() -> None:
    ours, theirs = units.GAMMA_BAR_HZ_PER_T, scipy.constants.value("proton gyromag. ratio in MHz/T") * 1e6
    assert abs(ours / theirs - 1) < 1e-8


def test_no_file_of_vague_purpose() -> None:
    assert not [p for p in FILES if p.stem in ("utils", "misc", "helpers", "common")]
