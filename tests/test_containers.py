"""Container recipes and the lock of dependencies tell what the project tells; no engine runs here."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import dlqsm
from dlqsm.cli import COMMANDS

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCKERFILE = (ROOT / "packaging" / "Dockerfile").read_text()
DEFINITION = (ROOT / "packaging" / "dlqsm.def").read_text()
RECIPES = pytest.mark.parametrize("recipe", [DOCKERFILE, DEFINITION], ids=["docker", "apptainer"])
LOCK = (ROOT / "requirements.lock").read_text()
SECTIONS = {"arguments", "files", "post", "environment", "runscript", "test", "labels", "help"}


def _sections() -> dict[str, str]:
    parts = re.split(r"^%(\w+)$", DEFINITION, flags=re.M)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def _pins() -> dict[str, tuple[Requirement, list[str]]]:
    """Pinned requirements by name, with their hashes."""
    text = re.sub(r"^\s*#.*\n", "", LOCK, flags=re.M).replace("\\\n", " ")
    pins = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        requirement, *hashes = line.split("--hash=")
        parsed = Requirement(requirement.strip())
        pins.setdefault(canonicalize_name(parsed.name), []).append((parsed, [h.strip() for h in hashes]))
    return pins


@RECIPES
def test_the_base_image_is_pinned_to_a_python_that_the_project_takes(recipe: str) -> None:
    images = re.findall(r"^(?:FROM|From:) python:([\d.]+)-slim-bookworm$", recipe, flags=re.M)
    assert len(images) == 1
    assert Version(images[0]) in SpecifierSet(PROJECT["requires-python"])


@RECIPES
def test_the_wheel_of_this_version_is_installed_by_the_lock(recipe: str) -> None:
    wheels = set(re.findall(r"dlqsm-([\w.]+)-py3-none-any\.whl", recipe))
    assert wheels == {dlqsm.__version__}
    assert set(re.findall(r"image\.version[= ]\"?([\d.]+)", recipe)) == {dlqsm.__version__}
    assert set(re.findall(r"image\.licenses[= ]\"?([\w.-]+)", recipe)) == {PROJECT["license"]}
    assert len(re.findall(r"--constraint \S*constraints\.txt", recipe)) == 1
    (removed, ending) = re.findall(r"sed -e '/(.*?)/d' -e 's/(.*?)//'", recipe)[0]
    kept = [re.sub(ending, "", line) for line in LOCK.splitlines() if not re.match(removed, line)]
    names = {Requirement(line).name for line in kept if line and not line.lstrip().startswith("#")}
    assert {canonicalize_name(name) for name in names} == set(_pins())


def test_both_are_bids_apps_that_find_the_atlas_in_one_place() -> None:
    assert PROJECT["scripts"] == {"dlqsm": "dlqsm.cli:main"}
    assert 'ENTRYPOINT ["dlqsm", "run"]' in DOCKERFILE
    assert _sections()["runscript"].strip() == 'exec dlqsm run "$@"'
    places = [dict(re.findall(r"(TEMPLATEFLOW_HOME|NILEARN_DATA)=(\S+)", text)) for text in (DOCKERFILE, DEFINITION)]
    assert places[0] == places[1] == {"TEMPLATEFLOW_HOME": "/atlas/templateflow", "NILEARN_DATA": "/atlas/nilearn"}
    guide = (ROOT / "docs" / "install.md").read_text()
    assert all(
        f"{name}" in guide for name in ("/atlas", "--network none", "packaging/Dockerfile", "packaging/dlqsm.def")
    )


@RECIPES
def test_commands_of_the_recipes_exist(recipe: str) -> None:
    words = re.findall(r"""(?:exec dlqsm |"dlqsm", "|^ +dlqsm )([a-z][a-z-]*)""", recipe, flags=re.M)
    assert "run" in words
    assert set(words) <= set(COMMANDS)


@pytest.mark.parametrize("guide", ["install.md", "export.md"])
def test_commands_of_the_guides_exist(guide: str) -> None:
    blocks = "".join(re.findall(r"```[a-z]*\n(.*?)```", (ROOT / "docs" / guide).read_text(), flags=re.S))
    words = set(re.findall(r"(?:^|dlqsm\.sif )dlqsm ([a-z][a-z-]+)", blocks, flags=re.M)) - {"as"}
    assert words
    assert words <= set(COMMANDS)
    targets = set(re.findall(r"^make ([a-z-]+)", blocks, flags=re.M))
    assert targets <= set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M))


def test_nobody_is_root_in_the_image() -> None:
    users = re.findall(r"^USER (\S+)$", DOCKERFILE, flags=re.M)
    assert users == re.findall(r"useradd --create-home --uid (\d+)", DOCKERFILE)
    assert int(users[-1]) > 0


def test_the_definition_has_the_parts_of_apptainer() -> None:
    sections = _sections()
    assert set(sections) == SECTIONS | {""}
    assert re.search(r"^Bootstrap: docker\nFrom: \S+$", sections[""], flags=re.M)
    assert set(re.findall(r"{{ (\w+) }}", DEFINITION)) == set(
        re.findall(r"^ +(\w+)=", sections["arguments"], flags=re.M)
    )


def test_the_lock_pins_every_dependency_within_its_range() -> None:
    pins = _pins()
    for text in PROJECT["dependencies"]:
        wanted = Requirement(text)
        for pinned, _ in pins[canonicalize_name(wanted.name)]:
            (pin,) = pinned.specifier
            assert pin.operator == "==" and Version(pin.version) in wanted.specifier, text


def test_the_lock_has_hashes_and_no_addresses() -> None:
    assert "://" not in LOCK
    for name, entries in _pins().items():
        for _, hashes in entries:
            assert hashes, name
            assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in hashes)


def test_the_lock_is_complete() -> None:
    """All that the installed dependencies need in turn is pinned."""
    pins, seen, queue = _pins(), set(), [Requirement(text) for text in PROJECT["dependencies"]]
    while queue:
        name = canonicalize_name(queue.pop().name)
        assert name in pins
        if name not in seen:
            seen.add(name)
            needs = map(Requirement, metadata.requires(name) or ())
            queue += [need for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
