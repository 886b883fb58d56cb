"""dlqsm agree as a user runs it: real data through the whole command, what it writes, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import special

from dlqsm.cli import main
from dlqsm.core.labels import NUCLEI

Refused = Callable[..., str]
FIGURES = ("bland_altman", "correlation", "equivalence", "age", "age_slopes")


def _cohort(n_people=9, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for person in range(n_people):
        true = rng.normal(80, 15)
        for arm in ("PI2", "DL3", "PI2rep"):
            for roi, offset in (("Pu", -30.0), ("RN", 0.0)):
                rows.append((f"sub-{person}", 20 + 5 * person, "F", arm, roi, "both", true + offset + rng.normal(0, 3)))
    return pd.DataFrame(rows, columns=["participant_id", "age", "sex", "arm", "roi", "side", "mean_ppb"])


def _save(table: pd.DataFrame, path: Path) -> Path:
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    return path


def _run(*words: object) -> None:
    assert main([str(word) for word in (*words, "--quiet", "--resamples", 200)]) == 0


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", na_values="n/a")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("agree")
    _run("agree", _save(_cohort(), folder / "table.tsv"), folder / "out", "--reference", "PI2")
    return folder / "out"


class TestWhatIsWritten:
    def test_tables_with_a_dictionary_of_every_column(self, written):
        for name in ("agreement", "age", "mixed_model"):
            table, about = _read(written / f"{name}.tsv"), json.loads((written / f"{name}.json").read_text())
            assert list(table.columns) == list(about["columns"])
            assert about["Reference"] == "PI2" and about["Repeat"] == "PI2rep" and about["MarginPpb"] == 3.0
            for column, text in about["columns"].items():
                assert column.endswith("_ppb") <= ("[ppb]" in text), column

    def test_the_mixed_model_tells_how_it_ended(self, written):
        about = json.loads((written / "mixed_model.json").read_text())
        assert about["Converged"] is True and about["Participants"] == 9 and "(1 | participant" in about["Model"]
        assert set(_read(written / "mixed_model.tsv")["kind"]) == {
            "arm", "nucleus", "cell", "against_repeat", "test", "sd"
        }  # fmt: skip

    def test_figures_as_svg_with_text_and_as_png(self, written):
        for name in FIGURES:
            svg = (written / f"{name}.svg").read_text()
            assert "<text" in svg and "ppb" in svg
            assert (written / f"{name}.png").read_bytes().startswith(b"\x89PNG")

    def test_nothing_else(self, written):
        names = {f"{name}.{ending}" for name in FIGURES for ending in ("svg", "png")}
        names |= {f"{name}.{ending}" for name in ("agreement", "age", "mixed_model") for ending in ("tsv", "json")}
        assert {file.name for file in written.iterdir()} == names | {"tables.tex"}

    def test_the_latex_tables_are_whole(self, written):
        text = (written / "tables.tex").read_text()
        assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 4
        body = [line for line in text.splitlines() if line.startswith("Pu & DL3 ") or r"\textsl{PI2rep} &" in line]
        assert [line.count("&") for line in body] == [11, 11, 11, 7, 7, 7]
        assert "DL3 less PI2, all nuclei & " in text and "test: arm:nucleus & " in text

    def test_the_same_again(self, written, tmp_path):
        _run("agree", written.parent / "table.tsv", tmp_path / "out", "--reference", "PI2")
        for file in written.iterdir():
            assert file.read_bytes() == (tmp_path / "out" / file.name).read_bytes(), file.name

    def test_the_summary(self, written, tmp_path, capsys):
        _run("agree", written.parent / "table.tsv", tmp_path / "out", "--reference", "PI2", "--margin-ppb", "5")
        said = capsys.readouterr().out
        assert "DL3 against PI2, both sides pooled" in said
        assert "within ±5 ppb" in said and "of 2 nuclei" in said
        assert said.count("SD ÷ repeat") == 1, "DL3 has a floor, the repeat is it"
        about = json.loads((tmp_path / "out" / "agreement.json").read_text())
        assert about["Answer"] and all(sentence in said for sentence in about["Answer"])
        assert said.startswith("Up to an acceleration of AF 3 (DL3), every nucleus stays within ±5 ppb of PI2")
        assert "…" not in said.replace("…+", "").replace("…−", "")  # nothing was cut off

    def test_the_repeat_of_one_reconstruction_among_several(self, tmp_path):
        names = {"PI2": "PI2_sense", "PI2rep": "PI2rep_sense", "DL3": "DL3_joint"}
        table = _save(_cohort().replace({"arm": names}), tmp_path / "t.tsv")
        _run("agree", table, tmp_path / "out", "--reference", "PI2_sense")
        about = json.loads((tmp_path / "out" / "agreement.json").read_text())
        assert about["Repeat"] == "PI2rep_sense" and "AF 3 (DL3_joint)" in about["Answer"][0]

    def test_a_repeat_that_is_another_run(self, tmp_path, capsys):
        table = _save(_cohort().replace({"arm": {"PI2": "PI2_run1", "PI2rep": "PI2_run2"}}), tmp_path / "t.tsv")
        _run("agree", table, tmp_path / "out", "--reference", "PI2_run1")
        assert json.loads((tmp_path / "out" / "agreement.json").read_text())["Repeat"] == "PI2_run2"
        said = capsys.readouterr().out
        assert "AF 3 (DL3)" in said and "AF 2" not in said and "known to be a repeat" not in said

    def test_not_over_results_that_exist(self, written, refused: Refused):
        assert "--overwrite" in refused("agree", written.parent / "table.tsv", written, "--reference", "PI2")


class TestIncompleteData:
    def test_without_ages_agreement_is_written_and_old_ages_go(self, tmp_path, capsys):
        out = tmp_path / "out"
        _run("agree", _save(_cohort(), tmp_path / "a.tsv"), out, "--reference", "PI2")
        no_age = _save(_cohort().drop(columns=["age", "sex"]), tmp_path / "b.tsv")
        _run("agree", no_age, out, "--reference", "PI2", "--overwrite")
        assert "age.tsv was not made: no age is known" in capsys.readouterr().out
        assert (out / "agreement.tsv").is_file() and (out / "mixed_model.tsv").is_file()
        assert not [file for file in out.iterdir() if file.name.startswith("age.") or "slopes" in file.name]

    def test_missing_people_are_counted(self, tmp_path, capsys):
        table = _cohort(7)
        table = table[~((table["arm"] == "DL3") & table["participant_id"].isin(["sub-0", "sub-1", "sub-2"]))]
        table.loc[table["participant_id"] == "sub-6", "age"] = np.nan
        _run("agree", _save(table, tmp_path / "t.tsv"), tmp_path / "out", "--reference", "PI2")
        said = capsys.readouterr().out
        assert "arm DL3: 3 of 7 participants lack it" in said
        assert "fewer than 5 pairs" in said
        assert "1 participants without age" in said
        found = _read(tmp_path / "out" / "agreement.tsv").set_index(["arm", "roi"])
        assert found.loc[("DL3", "Pu"), "n"] == 4 and np.isnan(found.loc[("DL3", "Pu"), "icc"])
        remarks = json.loads((tmp_path / "out" / "agreement.json").read_text())["Remarks"]
        assert all(remark in said for remark in remarks)

    def test_an_age_that_convert_hides_is_taken_with_a_note(self, tmp_path):
        table = _cohort().astype({"age": object})
        table.loc[table["participant_id"] == "sub-8", "age"] = "89+"
        _run("agree", _save(table, tmp_path / "t.tsv"), tmp_path / "out", "--reference", "PI2")
        told = json.loads((tmp_path / "out" / "agreement.json").read_text())["Remarks"]
        assert told[0] == "the age of 1 participants is told as 89+, which counts as 89"
        assert set(_read(tmp_path / "out" / "age.tsv")["n"]) == {9}

    def test_sides_without_both(self, tmp_path, capsys):
        sides = pd.concat([_cohort().assign(side=side) for side in ("left", "right")])
        _run("agree", _save(sides, tmp_path / "t.tsv"), tmp_path / "out", "--reference", "PI2")
        assert len(_read(tmp_path / "out" / "agreement.tsv")) == 8
        assert not (tmp_path / "out" / "age.tsv").exists()
        told = " ".join(capsys.readouterr().out.split())
        assert "note: no row is of side both" in told and "results by side are in agreement.tsv" in told


class TestRefused:
    def test_no_trace_is_left(self, tmp_path, refused: Refused):
        table = _save(pd.concat([_cohort(), _cohort().iloc[:2]]), tmp_path / "t.tsv")
        assert "2 rows are doubled" in refused("agree", table, tmp_path / "out", "--reference", "PI2")
        assert not (tmp_path / "out").exists()

    def test_an_unknown_reference_or_repeat(self, tmp_path, refused: Refused):
        table = _save(_cohort(), tmp_path / "t.tsv")
        assert "it has DL3, PI2" in refused("agree", table, tmp_path / "out", "--reference", "PI3")
        said = refused("agree", table, tmp_path / "out", "--reference", "PI2", "--repeat", "again")
        assert "repeat arm 'again'" in said
        assert not (tmp_path / "out").exists()

    def test_the_json_beside_the_table_says_ppm(self, tmp_path, refused: Refused):
        table = _save(_cohort(), tmp_path / "t.tsv")
        (tmp_path / "t.json").write_text('{"mean_ppb": {"Units": "ppm"}}')
        assert "is in ppm" in refused("agree", table, tmp_path / "out", "--reference", "PI2")

    def test_small_values_unless_the_json_states_ppb(self, tmp_path, refused: Refused):
        table = _save(_cohort().assign(mean_ppb=lambda t: t["mean_ppb"] / 1000), tmp_path / "t.tsv")
        assert "looks like ppm" in refused("agree", table, tmp_path / "out", "--reference", "PI2")
        (tmp_path / "t.json").write_text('{"columns": {"mean_ppb": "Mean susceptibility [ppb]"}}')
        _run("agree", table, tmp_path / "out", "--reference", "PI2")

    @pytest.mark.parametrize("margin", ["0", "-3", "nan", "much"])
    def test_a_margin_that_is_none(self, margin, tmp_path, refused: Refused):
        table = _save(_cohort(), tmp_path / "t.tsv")
        assert "margin" in refused("agree", table, tmp_path / "o", "--reference", "PI2", "--margin-ppb", margin)


@pytest.fixture(scope="module")
def sessions(shared_data: Path) -> pd.DataFrame:
    return pd.read_csv(shared_data / "larsen_cit168_table" / "sessions.csv")


@pytest.fixture(scope="module")
def larsen(sessions, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("larsen")
    first = sessions.groupby("participant_id")["age"].first()
    long = sessions.melt(["participant_id", "session", "sex"], list(NUCLEI), "roi", "mean_ppb")
    long = long.assign(
        age=long["participant_id"].map(first), arm=long["session"], side="both", mean_ppb=1000 * long["mean_ppb"]
    )
    _run("agree", _save(long, folder / "t.tsv"), folder / "out", "--reference", "ses-01", "--repeat", "ses-02")
    return folder / "out"


class TestRealData:
    """36 people, 23 of them scanned twice years apart: sessions as arms, ages of the first session."""

    @staticmethod
    def _r_and_p(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        """From sums, with p as an incomplete beta function: P(|T| > t) = I_{1 - r^2}((n - 2) / 2, 1 / 2)."""
        dx, dy = x - x.sum() / x.size, y - y.sum() / y.size
        r = (dx * dy).sum() / np.sqrt((dx**2).sum() * (dy**2).sum())
        return float(r), float(special.betainc((x.size - 2) / 2, 0.5, 1 - r**2))

    @pytest.mark.parametrize("session", ["ses-01", "ses-02"])
    def test_age_per_nucleus(self, sessions, larsen, session):
        found = _read(larsen / "age.tsv")
        first = sessions.groupby("participant_id")["age"].first()
        chosen = sessions[sessions["session"] == session]
        age = chosen["participant_id"].map(first).to_numpy()
        assert age.size == {"ses-01": 36, "ses-02": 23}[session]
        for nucleus in NUCLEI:
            row = found[(found["arm"] == session) & (found["roi"] == nucleus)].iloc[0]
            assert row["n"] == age.size
            assert (row["pearson_r"], row["p"]) == pytest.approx(
                self._r_and_p(age, chosen[nucleus].to_numpy()), rel=1e-6
            )

    def test_agreement_per_nucleus(self, sessions, larsen):
        found = _read(larsen / "agreement.tsv")
        wide = sessions.pivot(index="participant_id", columns="session", values=list(NUCLEI)).dropna()
        assert len(found) == len(NUCLEI) and (found["n"] == len(wide)).all() and len(wide) == 23
        for nucleus in NUCLEI:
            x, y = (1000 * wide[nucleus][session].to_numpy() for session in ("ses-02", "ses-01"))
            d = x - y
            row = found[found["roi"] == nucleus].iloc[0]
            r, p = self._r_and_p(x, y)
            t = d.mean() / np.sqrt(((d - d.mean()) ** 2).sum() / 22 / 23)
            expected = {
                "pearson_r": r,
                "pearson_p": p,
                "bias_ppb": d.sum() / 23,
                "t": t,
                "p": special.betainc(11, 0.5, 22 / (22 + t**2)),
                "ccc": 2 * np.mean((x - x.mean()) * (y - y.mean())) / (x.var() + y.var() + d.mean() ** 2),
                "percent_difference": 100 * abs(d.mean()) / abs(y.mean()),
            }
            for name, value in expected.items():
                assert row[name] == pytest.approx(value, rel=1e-6), (nucleus, name)

    def test_it_finds_what_is_known(self, larsen):
        # Iron of the pallidum rises through adolescence and early adulthood: GPe and GPi correlate with age at 11-31.
        found = _read(larsen / "age.tsv").set_index(["arm", "roi"])
        assert found.loc[("ses-01", "GPe"), "pearson_r"] > 0.4 and found.loc[("ses-01", "GPe"), "p"] < 0.01

    def test_a_percent_of_next_to_nothing_is_called_so(self, larsen):
        # The putamen's mean is near 0 ppb in these people, and its percent difference is some 300.
        remarks = " ".join(json.loads((larsen / "agreement.json").read_text())["Remarks"])
        assert "percent differences of ses-02 Pu both" in remarks and "mean little" in remarks
