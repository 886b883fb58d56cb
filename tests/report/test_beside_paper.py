"""The group page beside the published study: only for the paper's arms, each figure from the tables; and what ran."""

import json

import pandas as pd
import pytest
from made_up_group import (
    ARMS,
    PEOPLE,
    SVG,
    make_accounts,
    make_age,
    make_agreement,
    make_definitions,
    make_group,
    make_registration,
    make_similarity,
    make_values,
)
from page_reader import Reader, loads_from_outside

from dlqsm.report.checklist import account_checklist
from dlqsm.report.group import GroupFigure
from dlqsm.report.group_page import group_page
from dlqsm.report.paper import FILE, matching_arms, published
from dlqsm.report.paper_figure import paper_figure


@pytest.fixture(scope="module")
def group():
    similarity = make_similarity().assign(psnr_db=lambda t: 30 + t["rmse_ppb"] / 7)
    return make_group(accounts=make_accounts(), similarity=similarity)


@pytest.fixture(scope="module")
def reader(group):
    return Reader(group_page(group))


def lines_of(reader, *starts):
    """Lines of the table that holds a line for each start, by quantity: (ours, published)."""
    table = next(t for t in reader.tables if all(any(row[0].startswith(start) for row in t) for start in starts))
    return {row[0]: (row[1:], table[i + 1][1:]) for i, row in enumerate(table) if i and row[0]}


def test_people_and_scan_times(reader):
    lines = lines_of(reader, "Participants", "Scan time")
    assert lines["Participants"] == (
        ["this study", "8 (4 men, 4 women), 21–28 years, mean 24"],
        ["published", "59 (22 men, 37 women), 18–75 years, mean 44"],
    )
    ours, theirs = lines["Scan time [min:s]"]
    assert ours == ["this study", "6:46", "4:35", "3:15", "–"]
    assert theirs == ["published", "6:46", "4:35", "3:15", "–"]


def test_people_of_other_or_unknown_sex_are_counted_as_such(group):
    for sexes, told in (("MFMFMFOO", "8 (3 men, 3 women, 2 of other or unknown sex)"), ("1212O121", "8 (8 of other")):
        people = group.participants.assign(sex=list(sexes))
        lines = lines_of(Reader(group_page(make_group(participants=people))), "Participants", "Scan time")
        assert lines["Participants"][0][1].startswith(told)


def test_maps_compared_with_another_arm_stand_not_beside(group):
    own = group.similarity.assign(reference="PI2")
    stranger = own.head(3).assign(participant_id="sub-09", reference="DL3", ssim=0.01, psnr_db=1.0)
    for similarity in (own, pd.concat([own, stranger])):
        report = make_group(accounts=make_accounts(), similarity=similarity)
        assert (
            lines_of(Reader(group_page(report)), "SSIM", "PSNR")["SSIM"][0]
            == (lines_of(Reader(group_page(group)), "SSIM", "PSNR")["SSIM"][0])
        )
        assert paper_figure(report).image == paper_figure(group).image


def test_similarity_agreement_and_age_are_those_of_the_tables(group, reader):
    lines = lines_of(reader, "SSIM", "PSNR")
    own = group.similarity[group.similarity["arm"] == "DL3"]["ssim"]
    assert lines["SSIM"][0][1] == f"{own.mean():.2f} ({own.min():.2f}–{own.max():.2f})"
    assert lines["SSIM"][1][1:] == ["0.87 (0.82–0.89)", "0.86 (0.77–0.89)", "–"]
    assert lines["PSNR [dB]"][1][1:] == ["44.56 (37.31–52.12)", "44.53 (37.42–53.10)", "–"]
    both = group.agreement[group.agreement["side"] == "both"]
    lines = lines_of(reader, "Pearson r", "Largest")
    for i, arm in enumerate(("DL3", "DL4", "PI2rep"), start=1):
        rows = both[both["arm"] == arm]
        assert lines["Pearson r"][0][i] == f"{rows['pearson_r'].min():.3f} to {rows['pearson_r'].max():.3f}"
        top = rows.loc[rows["percent_difference"].idxmax()]
        assert lines["Largest difference of means [%]"][0][i] == f"{top['percent_difference']:.2f} ({top['roi']})"
    assert lines["Largest difference of means [%]"][1] == ["published", "4.19", "2.98", "–"]
    lines = lines_of(reader, "putamen", "caudate")
    ours = group.age.set_index(["arm", "roi"])["pearson_r"]
    assert lines["putamen, r"][0][1:] == [f"{ours[(a, 'Pu')]:.3f}".replace("-", "−") for a in ARMS]
    assert lines["putamen, r"][1][1:] == ["0.631", "0.644", "0.653", "–"]
    assert lines["caudate nucleus, r"][1][1:] == ["–", "0.284", "0.224", "–"]


def test_the_sequence_stands_beside_the_published_one(reader):
    lines = lines_of(reader, "Field strength", "Voxel size")
    assert lines["Repetition time [ms]"] == (["this study", "30", "30", "30", "–"], ["published", "30.2"])
    assert lines["Voxel size [mm]"] == (["this study", *3 * ["0.8 × 0.8 × 2"], "–"], ["published", "0.8 × 0.8 × 2"])
    assert "Receive channels" not in lines, "what our accounts do not tell is no line"


def test_nuclei_without_a_shown_correlation_with_age_stand_beside():
    age = make_age().assign(p=lambda t: t["roi"].map({"Pu": 0.01, "RN": 0.049}).fillna(0.05))
    age.loc[age.arm == "DL3", "p"] = 0.5
    age.loc[age.arm == "DL4", "p"] = 0.001
    found = Reader(group_page(make_group(accounts=make_accounts(), age=age)))
    (ours, theirs) = next(
        (row, table[i + 1])
        for table in found.tables
        for i, row in enumerate(table)
        if row[0].startswith("No correlation with age shown (p ≥ 0.05)")
    )
    assert ours[1:] == ["this study", "Ca, GPe, GPi, SNc, SNr", "all 7", "none", "Ca, GPe, GPi, SNc, SNr"]
    assert theirs[1:] == ["published", "GPe, GPi, SNr; of Ca see below"]


def test_the_picture_draws_ours_filled_and_the_published_open(group):
    found = paper_figure(group)
    svg = found.image.decode()
    for word in ("SSIM", "PSNR [dB]", "r with age: Pu", "this study", "published", "DL4", "PI2rep"):
        assert f">{word}<" in svg, word
    assert paper_figure(make_group(reference_arm="DL3")) is None
    assert paper_figure(make_group(age=None, agreement=None, similarity=None)) is None
    some = paper_figure(make_group(age=None, similarity=None))
    assert some is not None and b"nan" not in some.image.lower()


def test_no_other_study_is_set_beside_it():
    assert matching_arms(("PI2", "DL3", "DL5"), "PI2") == ("DL3", "DL5")
    assert matching_arms(("PI2", "DL3"), "DL3") == () and matching_arms(("PI2", "fast"), "PI2") == ()
    renamed = {"DL3": "quick", "DL4": "fast"}
    tables = {
        "values": make_values(),
        "agreement": make_agreement(),
        "age": make_age(),
        "similarity": make_similarity(),
        "registration": make_registration(),
        "definitions": make_definitions(),
    }
    page = group_page(
        make_group(arms=("PI2", "quick", "fast", "PI2rep"), **{k: t.replace(renamed) for k, t in tables.items()})
    )
    assert "Zhou" not in Reader(page).words


def test_the_published_numbers_are_numbers_alone():
    text = FILE.read_text()
    assert json.loads(text) == published() and published()["doi"] == "10.3389/fnins.2025.1522227"
    assert len(text) < 2000
    for arm, (mean, low, high) in published()["ssim"].items():
        assert low < mean < high < 1, arm


def test_methods_that_differ_between_arms_name_their_arms(reader):
    assert "ESPIRiT sensitivities (arms PI2)" in reader.words
    assert "starts from compressed sensing (arms DL3, DL4)" in reader.words
    assert reader.words.count("L1 penalty on its gradients") == 1
    for name in ("Pitman and Morgan", "restricted maximum likelihood", "regressing the paired difference on age"):
        assert name in reader.words


def test_without_a_repeat_no_test_against_it_is_told():
    words = Reader(group_page(make_group(arms=ARMS[:3]))).words
    assert "Pitman" not in words.split("Methods")[-1] and "TOST" in words


def test_the_consensus_tables_have_an_arm_a_column(reader):
    sequence = next(t for t in reader.tables if any(row[0] == "Flip angle" for row in t))
    assert sequence[0] == ["", "PI2", "DL3", "DL4"]
    rows = {row[0]: row[1:] for row in sequence}
    assert rows["Acceleration"] == ["net factor 2", "net factor 3", "net factor 4"]
    assert rows["Voxel size"] == ["0.8 × 0.8 × 2 mm"] and rows["Flip angle"] == ["–"]
    processing = next(t for t in reader.tables if any(row[0] == "Dipole inversion" for row in t))
    rows = {row[0]: row[1:] for row in processing}
    assert rows["Inclusion and exclusion"][0].startswith(f"{len(PEOPLE)} participants, {len(PEOPLE)} measured")
    assert rows["Unit of susceptibility"] == ["ppm in maps, ppb in tables of nuclei"]


def test_raw_data_tell_sequence_and_dimension():
    """Raw data of other kinds are refused, so that lines of k-space alone tell both."""
    raw = {"scan": {"decisions": {"n_lines": 4032}}}
    told = {item.name: item.value for item in account_checklist(raw, {})}
    assert told["Sequence"] == "multi-echo gradient echo, Cartesian" and told["2-D or 3-D"] == "3-D"
    assert {item.name: item.value for item in account_checklist({}, {})}["Sequence"] is None
    scan = {**raw["scan"], "PulseSequenceType": "MEGRE of a vendor"}
    assert {item.name: item.value for item in account_checklist({"scan": scan}, {})}["Sequence"] == "MEGRE of a vendor"


def test_the_checklist_names_all_that_the_consensus_demands():
    names = {item.name for item in account_checklist({}, {})}
    hardware = {
        "Field strength",
        "Vendor",
        "Model",
        "Scanner software",
        "Receive coil",
        "Receive channels",
        "Gradient system",
    }
    sequence = {"Sequence", "2-D or 3-D", "Echoes, TE1 : spacing : TEmax", "Repetition time", "Flip angle",
                "Voxel size", "Readout bandwidth", "Field of view and matrix", "Readout polarity", "Centre frequency",
                "Flow compensation", "Acceleration", "Partial Fourier", "Elliptical shutter",
                "Phase stabilisation"}  # fmt: skip
    processing = {"Toolbox and version", "Phase reconstruction and coil combination", "Echo combination", "Masking",
                  "Phase unwrapping", "Background field removal", "Dipole inversion", "Further processing",
                  "Unit of susceptibility", "Reference region"}  # fmt: skip
    assert hardware | sequence | processing <= names


def test_every_part_of_the_paper_is_led_to():
    figures = tuple(
        GroupFigure(name, "", "a", SVG, name=name, is_folded=name == "correlation")
        for name in ("bland_altman", "correlation", "age")
    )
    found = Reader(group_page(make_group(accounts=make_accounts(), figures=figures)))
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    places = {link["href"] for link in found.of("a") if link["href"].startswith("#")}
    assert {"#maps", "#agreement", "#age", "#figure-bland_altman", "#figure-correlation", "#figure-age"} <= places
    assert places <= {f"#{name}" for name in ids}, "no link leads nowhere"
    bare = Reader(group_page(make_group(accounts=make_accounts(), example=None, figures=())))
    assert "figure-" not in "".join(link["href"] for link in bare.of("a"))


def test_maps_are_one_step_away(reader):
    assert f"{PEOPLE[0]}.html#differences" in [link["href"] for link in reader.of("a")]


def test_the_page_works_offline(group):
    page = group_page(group)
    assert loads_from_outside(page, Reader(page)) == []
