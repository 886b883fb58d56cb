"""Provenance and citations tell what was done: checked against the records, the files and the configuration."""

import hashlib
import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import dlqsm
from dlqsm.cli.arguments import Parser
from dlqsm.cli.run import add_arguments
from dlqsm.cohort.citation import citation_text, references_of
from dlqsm.cohort.plan import Plan
from dlqsm.cohort.provenance import write_provenance
from dlqsm.config import QsmConfig
from dlqsm.qsm.background.vsharp import vsharp

PARTS = {"act": "Activities", "ent": "ProvEntities", "soft": "Software", "env": "Environments"}


def _read(out: Path) -> dict[str, list[dict[str, Any]]]:
    paths = {suffix: out / "prov" / f"prov-dlqsm_{suffix}.json" for suffix in PARTS}
    return {suffix: json.loads(paths[suffix].read_text())[key] for suffix, key in PARTS.items()}


class TestProvenance:
    def test_every_stage_is_an_activity_of_its_own(self, measured: Path) -> None:
        told = _read(measured)
        labels = [activity["Label"] for activity in told["act"]]
        assert len(set(labels)) == len(labels) == 7 + 2 * 4 + 2  # maps, nuclei and pages, groups
        assert "Susceptibility from echo images: sub-01_ses-2 B" in labels
        ids = [thing["Id"] for things in told.values() for thing in things]
        assert len(set(ids)) == len(ids)
        for activity in told["act"]:
            begun, ended = (datetime.fromisoformat(activity[key]) for key in ("StartedAtTime", "EndedAtTime"))
            assert begun <= ended
            assert activity["Command"].startswith("dlqsm run bids out ")

    def test_all_that_is_named_is_described(self, measured: Path) -> None:
        told = _read(measured)
        known = {thing["Id"] for things in told.values() for thing in things}
        for activity in told["act"]:
            assert {*activity["Used"], *activity["AssociatedWith"]} <= known
        assert {entity.get("GeneratedBy") for entity in told["ent"]} - {None} == {a["Id"] for a in told["act"]}
        software = {(thing["Label"], thing["Version"]) for thing in told["soft"]}
        assert ("dlqsm", dlqsm.__version__) in software
        assert "torch" in dict(software)

    def test_files_are_there_and_inputs_have_their_hash(self, measured: Path, visits: Path) -> None:
        roots = {"bids::": measured, "bids:raw:": visits}
        n_hashed = 0
        for entity in _read(measured)["ent"]:
            prefix, _, place = entity["Id"].rpartition(":")
            path = roots[f"{prefix}:"] / place
            assert path.is_file()
            assert place == entity["AtLocation"]
            if "Digest" in entity:
                n_hashed += 1
                assert entity["Digest"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert n_hashed == 7 * 4 * 2  # images of each echo
        assert all("GeneratedBy" in e for e in _read(measured)["ent"] if e["Id"].startswith("bids::"))

    def test_a_map_leads_back_to_its_images(self, measured: Path) -> None:
        told = _read(measured)
        entities, activities = ({thing["Id"]: thing for thing in told[key]} for key in ("ent", "act"))
        table = entities["bids::sub-02/ses-1/sub-02_ses-1_desc-nuclei_qsmstats.tsv"]
        maps = activities[table["GeneratedBy"]]["Used"]
        chi = "bids::sub-02/ses-1/anat/sub-02_ses-1_acq-B_Chimap.nii.gz"
        assert chi in maps
        images = [u for u in activities[entities[chi]["GeneratedBy"]]["Used"] if u.startswith("bids:raw:")]
        assert len(images) == 8
        assert all(image.startswith("bids:raw:sub-02/ses-1/anat/sub-02_ses-1_acq-B_echo-") for image in images)

    def test_no_place_of_this_machine_is_told(self, measured: Path, tmp_path: Path) -> None:
        for path in (measured / "prov").iterdir():
            assert str(measured.parent) not in path.read_text()
        assert "prov" in (measured / ".bidsignore").read_text().split()

    def test_commands_are_told_without_paths_and_addresses(self) -> None:
        parser = Parser(prog="dlqsm run")
        words = ["/data/bids/", "../out", "participant", "--config=/home/me/c.toml", "--scheduler", "tcp://host:8786"]
        add_arguments(parser, [*words, "--work", "/scratch/me", "--threads=2", "--quiet"])
        assert parser.get_default("command") == (
            "dlqsm run bids out participant --config=c.toml --scheduler ADDRESS --work me --threads=2 --quiet"
        )

    def test_records_of_an_earlier_version_do(self, tmp_path: Path) -> None:
        record = tmp_path / "logs" / "records" / "sub-1" / "PI2_recon.json"
        record.parent.mkdir(parents=True)
        record.write_text(
            json.dumps({"key": "k", "outputs": {"work/sub-1/PI2/mdi.h5": 3}, "seconds": 1.0, "about": {}})
        )
        qsm = {"key": "q", "outputs": {"sub-1/anat/sub-1_acq-PI2_Chimap.nii.gz": 3}, "seconds": 1.0, "about": {}}
        record.with_name("PI2_qsm.json").write_text(json.dumps(qsm))
        write_provenance(tmp_path, tmp_path / "bids")
        told = _read(tmp_path)
        (lost,) = [entity for entity in told["ent"] if "AtLocation" not in entity]
        assert lost["Label"].startswith("mdi-")
        used = {activity["Label"]: activity["Used"] for activity in told["act"]}
        assert used["Susceptibility from echo images: sub-1 PI2"] == [lost["Id"]]


class TestCitations:
    @pytest.fixture
    def plan(self) -> Plan:
        return Plan(Path(), Path(), Path(), None, QsmConfig(), "cit168", "PI2")

    def test_they_are_those_of_the_methods_that_run(self, plan: Plan) -> None:
        text = citation_text(plan, raw_data=False)
        assert "10.1002/nbm.1670" in text  # PDF, whose idea the default background removal has
        assert references_of(vsharp) not in text
        assert "SENSE" not in text and "10.1002/mrm.1241" not in text
        assert "CIT168" in text
        other = replace(
            plan, config=plan.config.with_step("background", "vsharp", {}), atlas="virtual", methods=("cs",)
        )
        text = citation_text(other, raw_data=True)
        assert f"- background, vsharp: {references_of(vsharp)}\n" in text
        assert "10.1002/mrm.24751" in text and "10.1002/mrm.21391" in text
        assert "CIT168" not in text

    def test_a_run_writes_them(self, measured: Path) -> None:
        text = (measured / "logs" / "CITATION.md").read_text()
        assert "inversion, tkd" in text and "background, vsharp" in text
