"""Tables of values and of labels, and folders of an atlas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from malformed_case import Case
from small_inputs import (
    AGREE,
    ATLAS,
    LABELS,
    SHAPE,
    atlas_folder,
    image,
    long_table,
    phase_of,
    single_step,
    write_label_table,
    write_text,
)

TITLE = "Tables, labels and atlases"


def _last(**change: str) -> Any:
    return lambda folder: long_table(folder, change=change)


def _text(text: str, encoding: str = "utf-8") -> Any:
    return lambda folder: (folder / "table.tsv").write_bytes(text.encode(encoding))


def _scaled(folder: Path) -> None:
    """Values in ppm."""
    path = long_table(folder)
    head, *rows = path.read_text().splitlines()
    small = [f"{r.rpartition(chr(9))[0]}\t{float(r.rpartition(chr(9))[2]) / 1000:.5f}" for r in rows]
    write_text(path, "\n".join([head, *small]) + "\n")


def _doubled(folder: Path) -> None:
    path = long_table(folder)
    lines = path.read_text().splitlines()
    write_text(path, "\n".join([*lines, lines[-1]]) + "\n")


def _stated(folder: Path) -> None:
    long_table(folder)
    write_text(folder / "table.json", '{"columns": {"mean_ppb": {"Units": "ppm"}}}')


def _names(text: str) -> Any:
    return lambda folder: single_step(folder) or write_text(folder / "names.tsv", text)


def _chi(scale: float, units: str | None = None) -> Any:
    def make(folder: Path) -> None:
        single_step(folder)
        image(folder / "chi.nii.gz", scale * phase_of(*SHAPE))
        if units:
            write_text(folder / "chi.json", f'{{"Units": "{units}"}}')

    return make


def _atlas(spoil: Any) -> Any:
    def make(folder: Path) -> None:
        atlas_folder(folder)
        spoil(folder / "atlas")

    return make


_HEAD = "index\troi\tside\n"

CASES = (
    Case("table_missing", "a table that is not there", lambda f: None, AGREE, "IN/table.tsv: there is no such file"),
    Case("table_folder", "a folder in the place of a table", lambda f: (f / "table.tsv").mkdir(), AGREE,
         "IN/table.tsv: is a folder; expected a file"),
    Case("table_empty", "an empty file", _text(""), AGREE,
         "IN/table.tsv: expected a tab-separated table, but it cannot be read (…)"),
    Case("table_binary", "bytes that are no text", lambda f: (f / "table.tsv").write_bytes(bytes(range(256)) * 4),
         AGREE, "IN/table.tsv: expected a tab-separated table, but it cannot be read (…)"),
    Case("table_utf16", "a table in UTF-16", _text("participant_id\tarm\n", "utf-16"), AGREE,
         "IN/table.tsv: expected a tab-separated table, but it cannot be read (…)"),
    Case("table_header_only", "a table without rows", _text("participant_id\tarm\troi\tside\tmean_ppb\n"), AGREE,
         "IN/table.tsv: has no rows; expected one a participant, arm, nucleus and side"),
    Case("table_commas", "commas in the place of tabs", _text("participant_id,arm,roi,side,mean_ppb\n1,A,Pu,left,3\n"),
         AGREE,
         "IN/table.tsv: has no column participant_id, arm, roi, side, mean_ppb; it has "
         "participant_id,arm,roi,side,mean_ppb"),
    Case("table_no_column", "a column of another name",
         lambda f: long_table(f, header="participant_id\tage\tarm\tnucleus\tside\tmean_ppb"), AGREE,
         "IN/table.tsv: has no column roi; it has participant_id, age, arm, nucleus, side, mean_ppb"),
    Case("table_column_twice", "a column twice",
         lambda f: long_table(f, header="participant_id\tmean_ppb\tarm\troi\tside\tmean_ppb"), AGREE,
         "IN/table.tsv: has the column mean_ppb twice; keep one of them"),
    Case("table_unit", "a column that does not tell its unit",
         lambda f: long_table(f, header="participant_id\tage\tarm\troi\tside\tmean"), AGREE,
         "IN/table.tsv: the column mean does not tell its unit; give the values in ppb and name it mean_ppb", pain=13),
    Case("table_ppm", "values in ppm", _scaled, AGREE,
         "IN/table.tsv: the largest mean_ppb is 0.052, which looks like ppm; multiply by 1000, or state the unit ppb "
         "in the JSON beside the table if the values are right", pain=13),
    Case("table_stated_ppm", "a sidecar that says ppm", _stated, AGREE,
         "IN/table.json: says that mean_ppb is in ppm; give table.tsv in ppb, and say so in the JSON", pain=13),
    Case("table_word", "a word in the place of a value", _last(mean_ppb="high"), AGREE,
         "IN/table.tsv: mean_ppb holds 'high' in row 17; expected a number in ppb, or n/a where there is none"),
    Case("table_infinite", "an infinite value", _last(mean_ppb="inf"), AGREE,
         "IN/table.tsv: mean_ppb is infinite in row 17; put n/a where there is no value"),
    Case("table_no_arm", "a row without its arm", _last(arm="n/a"), AGREE,
         "IN/table.tsv: 1 rows have no arm; fill it in or remove them"),
    Case("table_side", "a side in another language", _last(side="links"), AGREE,
         "IN/table.tsv: side 'links' is unknown; expected left, right or both"),
    Case("table_age", "an age of 400", _last(age="400"), AGREE,
         "IN/table.tsv: sub-04 has the age 400; expected years from 0 to 130"),
    Case("table_doubled", "a row twice", _doubled, AGREE,
         "IN/table.tsv: 1 rows are doubled, first sub-04, arm DL3, Pu, side right; keep one row for each, or give "
         "repeats an arm of their own", pain=25),
    Case("table_reference", "a reference that is no arm", long_table, AGREE.replace("PI2", "PI3"),
         "the reference arm 'PI3' is not in the table; it has DL3, PI2", pain=25),
    Case("table_margin", "a margin below zero", long_table, f"{AGREE} --margin-ppb=-3",
         "argument --margin-ppb: expected a number above zero; got '-3'; see dlqsm agree --help", pain=25),
    Case("chi_ppb", "a map in ppb", _chi(40.0), LABELS,
         "IN/chi.nii.gz: half of its values are beyond 63.7 ppm, which looks like ppb; expected ppm: divide by "
         "1000", pain=13),
    Case("chi_unit", "a map whose sidecar says ppb", _chi(0.03, "ppb"), LABELS,
         "IN/chi.json: says that the map is in 'ppb'; expected ppm: convert it, and say so here", pain=13),
    Case("compare_ppb", "a map in ppb that is compared", _chi(40.0),
         "compare IN/chi.nii.gz IN/chi.nii.gz --quiet --json OUT.json",
         "IN/chi.nii.gz: half of its values are beyond 63.7 ppm, which looks like ppb; expected ppm: divide by "
         "1000", pain=13),
    Case("labels_alone", "labels without their names", single_step, LABELS.replace(" --names IN/names.tsv", ""),
         "--labels and --names go together; give both", pain=15),
    Case("labels_shape", "labels of another shape",
         lambda f: single_step(f) or image(f / "labels.nii.gz", np.ones((10, 9, 7), np.uint8)), LABELS,
         "IN/labels.nii.gz: has shape (10, 9, 7); expected (10, 9, 8), the shape of IN/chi.nii.gz", pain=15),
    Case("names_index", "a label that is no number", _names(f"{_HEAD}one\tPu\tleft\n"), LABELS,
         "IN/names.tsv: its column index holds 'one'; expected a whole number in each row", pain=15),
    Case("names_fraction", "a label with a fraction", _names(f"{_HEAD}1.5\tPu\tleft\n"), LABELS,
         "IN/names.tsv: its column index holds 1.5; expected a whole number in each row"),
    Case("names_twice", "a label named twice", _names(f"{_HEAD}1\tPu\tleft\n1\tCa\tleft\n"), LABELS,
         "IN/names.tsv: names the label 1 more than once; expected one row a label"),
    Case("names_columns", "names without their columns", _names("index\tcolour\n1\tred\n"), LABELS,
         "IN/names.tsv: expected the columns index, roi and side, or index and name", pain=15),
    Case("atlas_missing", "an atlas that is not there", single_step, ATLAS,
         "atlas 'IN/atlas' is neither virtual nor cit168, and no folder of that name exists"),
    Case("atlas_incomplete", "an atlas without its labels", _atlas(lambda a: (a / "small_dseg.nii.gz").unlink()), ATLAS,
         "IN/atlas: expected one file whose name ends with _dseg.nii.gz; got none"),
    Case("atlas_two", "an atlas with two label images",
         _atlas(lambda a: image(a / "other_dseg.nii.gz", np.ones(SHAPE, np.uint8))), ATLAS,
         "IN/atlas: expected one file whose name ends with _dseg.nii.gz; got other_dseg.nii.gz, small_dseg.nii.gz"),
    Case("atlas_grid", "labels on another grid",
         _atlas(lambda a: image(a / "small_dseg.nii.gz", np.ones((5, 5, 5), np.uint8))), ATLAS,
         "IN/atlas/small_dseg.nii.gz: has shape (5, 5, 5); expected (10, 9, 8), the shape of "
         "small_desc-brain_T1w.nii.gz"),
    Case("atlas_volumes", "too few probability volumes",
         _atlas(lambda a: image(a / "small_probseg.nii.gz", np.ones((*SHAPE, 3), np.float32))), ATLAS,
         "IN/atlas/small_probseg.nii.gz: has 3 volumes; expected 14, one a nucleus and side"),
    Case("atlas_range", "probabilities above 1",
         _atlas(lambda a: image(a / "small_probseg.nii.gz", np.full((*SHAPE, 14), 7, np.float32))), ATLAS,
         "IN/atlas/small_probseg.nii.gz: values reach from 7 to 7; expected probabilities 0 to 1, or 0 to 255"),
    Case("atlas_nan", "probabilities that are no numbers",
         _atlas(lambda a: image(a / "small_probseg.nii.gz", np.full((*SHAPE, 14), np.nan, np.float32))), ATLAS,
         "IN/atlas/small_probseg.nii.gz: values reach from nan to nan; expected probabilities 0 to 1, or 0 to 255"),
    Case("atlas_index", "a label that is no number", _atlas(lambda a: write_label_table(a, {1: "one"})), ATLAS,
         "IN/atlas/small_dseg.tsv: its column index holds 'one'; expected a whole number in each row"),
)  # fmt: skip
