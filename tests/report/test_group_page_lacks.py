"""The group page where something is missing, odd or hostile: it is told, and nobody is lost."""

import numpy as np
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
    make_values,
)
from page_reader import Reader, by_nucleus, table_with

from dlqsm.core.checks import InputError
from dlqsm.report.group import GroupFigure
from dlqsm.report.group_page import group_page


def test_the_floor_is_the_repeat_alone():
    """What is not known of another arm must not read as the floor."""
    agreement = make_agreement()
    agreement.loc[agreement.arm == "DL3", ["sd_over_repeat", "sd_over_repeat_low", "sd_over_repeat_high"]] = np.nan
    found = Reader(group_page(make_group(agreement=agreement)))
    rows = by_nucleus(next(t for t in found.tables if "CCC" in t[0]))
    assert rows[("Pu", "DL3")][5] == "–" and rows[("Pu", "PI2rep")][5] == "floor"


def few_people():
    """Two of sixty measured: counts and means, no test of anything."""
    values = make_values()
    agreement = make_agreement().assign(n=2)
    agreement.loc[
        :, [c for c in agreement if c not in ("arm", "roi", "side", "n", "bias_ppb", "percent_difference")]
    ] = np.nan
    age = make_age().assign(n=2)
    age.loc[:, [c for c in age if c not in ("arm", "roi", "n", "slope_margin")]] = np.nan
    people = pd.DataFrame({"participant_id": [f"sub-{i:02d}" for i in range(1, 61)]})
    return make_group(
        participants=people.assign(sex=["M", "F", *[None] * 58], age=[20.0, 22.0, *[np.nan] * 58]),
        values=values[values.participant_id.isin(("sub-01", "sub-02"))], agreement=agreement, age=age, mixed=None,
        answer=(), pages={}, accounts=make_accounts(), methods={},
        problems={f"sub-{i:02d}": "has no table" for i in range(3, 61)},
    )  # fmt: skip


def test_where_few_are_done_the_others_are_one_line():
    found = Reader(group_page(few_people()))
    assert "58 participants without any arm : each has no table" in found.words
    assert [row[0] for row in table_with(found, "Participant", "Sex")[1:]] == ["sub-01", "sub-02"]
    assert table_with(found, "Measured")[1] == ["PI2 reference", "2 of 60", "none"]
    assert "2 of 60 (1 man, 1 woman), 20–22 years, mean 21" in found.words


def test_statistics_that_no_table_holds_are_neither_told_nor_set_beside():
    found = Reader(group_page(few_people()))
    methods = found.words.split("Methods")[-1]
    assert "registered rigidly" in methods and "L1 penalty" in methods
    for word in ("Pearson", "TOST", "Holm", "Williams", "Pitman"):
        assert word not in methods, word
    assert "No association with age is told" in found.words
    largest = next(row for t in found.tables for row in t if row[0].startswith("Largest difference"))
    assert largest[1:] == ["this study", "–", "–", "–"], "two people tell nothing beside 59"


def test_warnings_stand_in_the_column_of_their_arm_and_their_remark_once():
    """The table joins all sentences of a cell; that of the repeat is told in its own column."""
    table = make_registration()
    small = "fewer than 10 voxels: SNc left {}; such a mean depends on the grid"
    told = {
        "PI2": f"arm PI2: {small.format(2)}; arm PI2rep: {small.format(7)}",
        "PI2rep": f"arm PI2rep: {small.format(7)}",
    }
    table["warnings"] = table.arm.map(told).where(table.participant_id == "sub-01")
    found = Reader(group_page(make_group(registration=table)))
    row = next(t for t in found.tables if t[0] == ["Participant", *ARMS] and t[1][0] == "sub-01" and "°" in t[1][1])[1]
    assert row[1].endswith("° fewer than 10 voxels: SNc left 2") and row[4].endswith("SNc left 7")
    assert found.words.count("such a mean depends on the grid") == 1
    assert "fewer than 10 voxels: such a mean depends on the grid" in found.words


def test_scores_of_another_kind_are_no_outliers_of_these():
    """Who lacks PI2 has the first arm registered to the atlas: that score is judged by no score with PI2."""
    table = make_registration()
    table["score_of"] = table.arm.map({"PI2": "the atlas"}).fillna("the reference arm")
    table = table[(table.participant_id != "sub-08") | (table.arm != "PI2")]
    stranger = (table.participant_id == "sub-08") & (table.arm == "DL3")
    table.loc[stranger, ["score", "score_of"]] = [0.6, "the atlas"]
    found = Reader(group_page(make_group(registration=table)))
    rows = next(t for t in found.tables if t[0] == ["Participant", *ARMS] and "°" in t[1][1])[1:]
    assert [row[0] for row in rows if "low score" in " ".join(row)] == ["sub-05"]
    assert "Of sub-08, who lack PI2, the first arm takes its place." in found.words


def test_few_scores_are_no_ground_for_flags():
    few = make_registration()
    few = few[few.participant_id.isin(PEOPLE[2:6])]
    words = Reader(group_page(make_group(registration=few))).words
    assert "low score" not in words.split("Score, then motion")[1]


def test_maps_compared_with_another_arm_enter_no_definition():
    own = make_definitions().assign(reference="PI2")
    stranger = make_definitions(("DL4",)).assign(reference="DL3", mean=0.99, lowest=0.99, highest=0.99)
    tables = [
        [
            t
            for t in Reader(group_page(make_group(definitions=table))).tables
            if "0.5 ppm" in str(t) and "primary" in str(t)
        ]
        for table in (own, pd.concat([own, stranger]))
    ]
    assert tables[0] and tables[0] == tables[1]


def test_without_the_published_arms_there_is_nothing_to_compare_definitions_with():
    renamed = {"PI2": "slow", "DL3": "quick", "DL4": "fast", "PI2rep": "again"}
    report = make_group(
        arms=tuple(renamed.values()), reference_arm="slow",
        **{name: table.replace(renamed) for name, table in (("values", make_values()), ("agreement", make_agreement()),
                                                            ("definitions", make_definitions()))},
    )  # fmt: skip
    words = Reader(group_page(report)).words
    assert "SSIM in all definitions" in words and "Zhou" not in words and "nearest" not in words.lower()


def test_hostile_names_are_text():
    evil = '<script>alert("x")</script>&"\''
    values = make_values().replace({"sub-01": evil, "DL3": evil, "Pu": evil})
    report = make_group(
        dataset=evil,
        participants=pd.DataFrame({"participant_id": [evil, *PEOPLE[1:]], "sex": evil}),
        values=values,
        arms=("PI2", evil, "DL4", "PI2rep"),
        agreement=make_agreement().replace({"DL3": evil, "Pu": evil}),
        registration=make_registration().assign(warnings=evil),
        figures=(GroupFigure(evil, evil, evil, SVG),),
        pages={evil: f"{evil}.html"},
        problems={evil: evil, "step": evil},
        notes=(evil,),
        methods={evil: evil},
        software={evil: evil},
    )
    page = group_page(report)
    assert "<script" not in page
    found = Reader(page)
    assert 'alert("x")' in found.words
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)


def test_tables_that_do_not_exist_are_named():
    absent = dict.fromkeys(("agreement", "age", "mixed", "similarity", "registration", "definitions"))
    bare = make_group(**absent, figures=(), example=None, methods={}, software={}, problems={})
    words = Reader(group_page(bare)).words
    for sentence in (
        "The agreement study was not made",
        "No association with age",
        "There are no figures.",
        "No maps are shown: of no participant are maps kept, nor a picture of them.",
        "The data carry no record of registrations.",
        "No maps were compared.",
        "The data carry no record of the methods.",
    ):
        assert sentence in words, sentence
    assert "None" not in words and "nan" not in words.lower().split()


def test_unknown_values_are_dashes_and_nobody_is_lost():
    agreement = make_agreement()
    agreement.loc[agreement.arm == "DL3", agreement.columns[4:]] = np.nan
    people = pd.DataFrame({"participant_id": [*PEOPLE, "sub-99"], "age": [np.nan] * 9})
    report = make_group(agreement=agreement, participants=people, arms=("PI2", "DL3", "DL4"))
    found = Reader(group_page(report))
    assert "8 of 9 participants measured · 3 arms" in found.words
    cells = by_nucleus(next(t for t in found.tables if "CCC" in t[0]))[("Pu", "DL3")]
    assert cells == ["8", "–", "–", "–", "–", "–", "–", "–", "–", "–", "not tested"]
    assert "nuclei and arms of a side; the table" in found.words
    assert "No arm is known to be a repeat of PI2, as PI2rep or another run" in found.words
    table = table_with(found, "Participant", "Sex")
    assert table[-1] == ["sub-99", "–", "–", "missing", "missing", "missing", "0 of 3"]


def test_a_repeat_of_another_name_is_the_floor():
    agreement, values = (t.replace({"PI2rep": "Again"}) for t in (make_agreement(), make_values()))
    report = make_group(agreement=agreement, values=values, arms=("PI2", "Again", "DL3", "DL4"), repeat="Again")
    assert report.compared_arms == ("DL3", "DL4", "Again")
    found = Reader(group_page(report))
    assert "Again the floor" in table_with(found, "Again the floor")[0]
    assert "nuclei and arms of a side but the repeat, whose nuclei were adjusted for by themselves" in found.words


def test_tables_that_cannot_be_used_are_refused():
    with pytest.raises(InputError, match="no column mean_ppb"):
        make_group(values=make_values().drop(columns="mean_ppb"))
    with pytest.raises(InputError, match="reference arm 'PI9' is not among"):
        make_group(reference_arm="PI9")
    with pytest.raises(InputError, match="no relative address"):
        make_group(pages={"sub-01": "javascript:alert(1)"})
    with pytest.raises(InputError, match="no column participant_id"):
        make_group(participants=pd.DataFrame({"who": ["a"]}))
