"""Methods text and checklist say what ran, with the parameters that ran."""

import re

from made_up import SUMMARY, make_arm

from dlqsm.report.checklist import account_checklist, consensus_checklist
from dlqsm.report.methods_text import SENTENCES, STEPS, method_sentences, methods_text


def test_each_step_that_ran_adds_its_sentence_in_the_order_of_the_data():
    found = method_sentences(SUMMARY["methods"])
    assert [s.step for s in found] == ["reconstruction", "background", "inversion", "reference"]
    assert "(radii [mm] 12, 3; threshold 0.05)" in found[1].text
    assert found[1].dois == ("10.1002/mrm.23000",)


def test_parameters_change_the_text():
    other = {"background": {"method": "vsharp", "parameters": {"threshold": 0.02}}}
    assert "threshold 0.02" in method_sentences(other)[0].text


def test_unknown_methods_are_named_without_a_source():
    found = method_sentences({"inversion": {"method": "mine", "parameters": {"depth": 3}}, "extra": "x"})
    assert found[0].text == "Step inversion used the method mine (depth 3)" and found[0].dois == ()
    assert found[1].text == "Step extra used the method x"


def test_plain_text_has_sources_and_versions():
    text = methods_text(SUMMARY["methods"], {"dlqsm": "0.1.0", "torch": "2.6"})
    assert "doi:10.1002/mrm.24751" in text
    assert text.endswith("Software: dlqsm 0.1.0, torch 2.6.")
    assert methods_text({}, {}) == ""


def test_sources_are_well_formed_dois_of_known_steps():
    for (step, _), (text, dois) in SENTENCES.items():
        assert step in STEPS and text[0].isupper() and not text.endswith(".")
        assert all(re.fullmatch(r"10\.\d{4,9}/\S+", doi) for doi in dois)


def test_checklist_fills_what_is_known_and_leaves_the_rest_open():
    items = {item.name: item.value for item in consensus_checklist(make_arm(), {"dlqsm": "0.1.0"})}
    assert items["Field strength"] == "3 T"
    assert items["Echoes, TE1 : spacing : TEmax"] == "3 echoes, 3.3 : 3.1 : 9.5 ms"
    assert items["Repetition time"] == "30 ms"
    assert items["Voxel size"] == "1.6 × 1.6 × 4 mm"
    assert items["Field of view and matrix"] == "64 × 70.4 × 64 mm, matrix 40 × 44 × 16"
    assert items["Acceleration"] == "net factor 2, irregular sampling"
    assert items["Background field removal"] == "vsharp (radii [mm] 12, 3; threshold 0.05)"
    assert items["Reference region"] == "brain; before referencing: csf −3.1 ± 20.0 ppb (411 voxels)"
    assert items["Toolbox and version"] == "dlqsm 0.1.0"
    for unknown in ("Vendor", "Flip angle", "Partial Fourier", "Phase unwrapping"):
        assert items[unknown] is None


def test_masking_tells_where_the_mask_came_from():
    counts = {"n_brain": 120, "n_mask": 100}
    told = {
        source: {item.name: item.value for item in account_checklist({"mask": {**more, **counts}}, {})}["Masking"]
        for source, more in {"given": {"source": "given"}, "made": {"source": "magnitude"}, "old": {}}.items()
    }
    tail = ", less voxels of low phase quality; brain 120, mask 100"
    assert told["given"] == f"a brain mask that was given{tail}"
    assert told["made"] == f"brain by a surface grown in the magnitude{tail}"
    assert told["old"] == f"a brain mask{tail}"
