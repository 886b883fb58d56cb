"""dlqsm train on small raw files: it trains, goes on, fine-tunes, and refuses in one sentence what it cannot use."""

import csv
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dlqsm.acquisition.sampling import poisson
from dlqsm.cli import main
from dlqsm.core.anatomy import Anatomy
from dlqsm.core.raw import undersample
from dlqsm.io.raw import write_raw
from dlqsm.pipeline import training_slabs
from dlqsm.pipeline.training_slabs import SlabSettings
from dlqsm.reconstruction.learned import NETWORKS
from dlqsm.reconstruction.learned.weights import read_card, read_network, save_network
from dlqsm.reconstruction.training.slabs import TrainingSlab

sys.path.insert(0, str(Path(__file__).parents[1] / "reconstruction"))
from coil_phantom import make_phantom
from training_phantom import make_slab

Refused = Callable[..., str]
TINY = ["--features", 4, "--x-extents", 1, 1, "--n-blocks", 1]
NEW = ["--network", "cascade", *TINY, "--quiet"]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two fully sampled scans, one undersampled one."""
    folder = tmp_path_factory.mktemp("raw")
    scans = folder / "full"
    scans.mkdir()
    full = make_phantom().raw
    for name in ("a", "b"):
        write_raw(scans / f"{name}.h5", full)
    sampling = poisson((40, 28), 2.5, 1, calibration=(12, 10))
    write_raw(folder / "some.h5", undersample(full, sampling.mask))
    return folder


@pytest.fixture(scope="module")
def trained(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("work") / "out"
    assert train(out, "--data", raw / "full", *NEW, "--steps", 4) == 0
    return out


def train(*words: object) -> int:
    return main(["train", *map(str, words)])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_weights_come_with_their_recipe_and_result(trained: Path) -> None:
    network = read_network(NETWORKS["cascade"], trained / "best.safetensors")
    assert network.settings["features"] == 4 and list(network.settings["x_extents"]) == [1, 1]
    card = read_card(trained / "best.safetensors")
    assert card["recipe"]["loop"]["steps"] == 4
    assert (card["slabs"], card["device"]) == (1, "cpu")
    assert card["result"]["brain_hz"] == pytest.approx(
        float(rows(trained / "validation.tsv")[-1]["brain_hz"]), rel=1e-4
    )
    recipe = json.loads((trained / "recipe.json").read_text())
    assert recipe["source"]["data"] and recipe["recipe"]["network"] == "cascade"
    assert [row["step"] for row in rows(trained / "log.tsv")] == ["4"]
    assert not list(trained.glob(".*"))


def test_the_last_file_is_kept_to_judge_by(trained: Path) -> None:
    assert [path.name for path in (trained / "slabs" / "train").iterdir()] == ["000_a_0.safetensors"]
    assert [path.name for path in (trained / "slabs" / "validation").iterdir()] == ["000_b_0.safetensors"]


def test_a_cut_training_goes_on_to_the_same_weights(trained: Path, raw: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "out", "--data", raw / "full", *NEW, "--steps", 4, "--minutes", 1e-9) == 0
    assert not (tmp_path / "out" / "last.safetensors").exists()
    assert train(tmp_path / "out", "--resume", "--quiet") == 0
    ours = read_network(NETWORKS["cascade"], tmp_path / "out" / "last.safetensors").state_dict()
    whole = read_network(NETWORKS["cascade"], trained / "last.safetensors").state_dict()
    assert all(torch.equal(value, whole[name]) for name, value in ours.items())


def test_a_finished_training_can_be_made_longer(trained: Path, tmp_path: Path, refused: Refused) -> None:
    out = tmp_path / "out"
    shutil.copytree(trained, out)
    before = tree(out)
    assert "finished after 4 steps; give more --steps" in refused("train", out, "--resume")
    assert tree(out) == before
    assert train(out, "--resume", "--steps", 6, "--quiet") == 0
    assert json.loads((out / "recipe.json").read_text())["recipe"]["loop"]["steps"] == 6
    assert rows(out / "log.tsv")[-1]["step"] == "6"


def test_fine_tuning_starts_from_the_weights(trained: Path, raw: Path, tmp_path: Path) -> None:
    words = ["--data", raw / "full", "--network", "cascade", "--from", trained / "last.safetensors", "--quiet"]
    assert train(tmp_path / "out", *words, "--steps", 1, "--learning-rate", 1e-12) == 0
    old = read_network(NETWORKS["cascade"], trained / "last.safetensors").state_dict()
    new = read_network(NETWORKS["cascade"], tmp_path / "out" / "last.safetensors").state_dict()
    assert all(torch.allclose(value, new[name], atol=1e-6) for name, value in old.items())
    assert any(float(value.abs().max()) > 0 for value in old.values())


def test_a_training_may_start_from_the_weights_that_it_replaces(trained: Path, raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(trained, out)
    old = read_network(NETWORKS["cascade"], out / "best.safetensors").state_dict()
    words = ["--data", raw / "full", "--network", "cascade", "--from", out / "best.safetensors", "--quiet"]
    assert train(out, *words, "--steps", 1, "--learning-rate", 1e-12, "--overwrite") == 0
    start = read_network(NETWORKS["cascade"], out / "start.safetensors").state_dict()
    assert all(torch.equal(value, start[name]) for name, value in old.items())


def test_slabs_that_a_new_training_would_remove_are_not_learned_from(
    trained: Path, tmp_path: Path, refused: Refused
) -> None:
    out = tmp_path / "out"
    shutil.copytree(trained, out)
    before = tree(out)
    said = refused("train", out, "--data", out / "slabs" / "train", *NEW, "--overwrite")
    assert "which the new training replaces; move it first" in said
    assert tree(out) == before


def test_a_training_without_data_to_judge_by_goes_on(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert train(out, "--data", raw / "full" / "a.h5", *NEW, "--steps", 2, "--minutes", 1e-9) == 0
    assert not list((out / "slabs" / "validation").glob("*"))
    assert train(out, "--resume", "--processes", 2, "--quiet") == 0
    assert (out / "last.safetensors").is_file()


def test_undersampled_data_train_by_themselves(raw: Path, tmp_path: Path) -> None:
    words = ["--data", raw / "some.h5", raw / "some.h5", "--self-supervised", *NEW, "--steps", 3]
    assert train(tmp_path / "out", *words) == 0
    judged = rows(tmp_path / "out" / "validation.tsv")
    assert 0 < float(judged[-1]["held_out_error"]) < 1.5


def test_a_folder_of_slabs_is_used_where_it_is(trained: Path, tmp_path: Path) -> None:
    words = ["--data", trained / "slabs" / "train", "--validation", trained / "slabs" / "validation"]
    assert train(tmp_path / "out", *words, *NEW, "--steps", 1) == 0
    assert not (tmp_path / "out" / "slabs").exists()


def test_virtual_heads_are_made_first_and_some_kept_to_judge_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = []

    def scanned(anatomy: Anatomy, chosen: tuple[int, ...], settings: SlabSettings) -> list[TrainingSlab]:
        # Phantoms stand for heads, which take half a minute each and have tests of their own.
        assert anatomy.t1.any()
        seeds.append(chosen)
        assert settings.coil_maps is not None and settings.coil_maps.shape == (4, 8, 8)
        return [make_slab(chosen[1] + k)[0] for k in range(settings.slabs_a_head)]

    monkeypatch.setattr(training_slabs, "virtual_slabs", scanned)
    out, maps = tmp_path / "out", tmp_path / "maps.npy"
    np.save(maps, np.ones((4, 8, 8), np.complex64))
    words = ["--virtual", 2, "--coil-maps", maps, *NEW, "--steps", 2, "--seed", 5, "--minutes", 1e-9]
    assert train(out, *words) == 0
    assert seeds == [(5, 100_000), (5, 100_001), (5, 0), (5, 1)]
    assert len(list((out / "slabs" / "train").iterdir())) == 6
    assert train(out, "--resume", "--quiet") == 0
    assert len(seeds) == 4, "heads that are there are not made again"
    assert rows(out / "validation.tsv")[-1]["nuclei_hz"]


def test_what_it_cannot_use_is_refused_and_nothing_is_written(
    trained: Path, raw: Path, tmp_path: Path, refused: Refused
) -> None:
    out, full, some = tmp_path / "out", raw / "full", raw / "some.h5"
    new = ["--network", "cascade"]
    other = tmp_path / "other.safetensors"
    save_network(other, _Renamed(), {})
    empty = tmp_path / "empty"
    empty.mkdir()
    cases = [
        ([*new], "give either --data"),
        ([*new, "--data", full, "--virtual", 2], "give either --data"),
        ([*new, "--virtual", 2, "--self-supervised"], "drop --self-supervised"),
        ([*new, "--data", full, "--coil-maps", full], "are what virtual heads are scanned with"),
        ([*new, "--virtual", 2, "--coil-maps", tmp_path / "absent.npy"], "there is no file of coil maps here"),
        ([*new, "--data", some], "is undersampled"),
        ([*new, "--data", full, "--self-supervised"], "is fully sampled"),
        ([*new, "--data", tmp_path / "absent.h5"], "there is no such file"),
        ([*new, "--data", empty], "holds neither raw data"),
        ([*new, "--data", other], "is not an HDF5 file"),
        ([*new, "--data", full, "--from", other], "holds weights of 'renamed'"),
        ([*new, "--data", full, "--from", full / "a.h5"], "not a safetensors file"),
        ([*new, "--data", full, "--from", trained / "last.safetensors", "--features", 8], "drop --features"),
        ([*new, "--data", full, "--features", 0], "features"),
        (["--data", full], "give --network"),
        (["--resume"], "holds no training to resume"),
    ]
    for words, expected in cases:
        assert expected in refused("train", out, *words), words
        assert not out.exists(), words


def test_unknown_networks_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / "out", "--virtual", 1, "--network", "unet") == 2
    assert "invalid choice: 'unet'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_folders_of_others_and_of_other_trainings_are_left_alone(
    trained: Path, raw: Path, tmp_path: Path, refused: Refused
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    words = ["--network", "cascade", "--data", raw / "full"]
    assert "holds files that no training wrote" in refused("train", tmp_path, *words)
    assert "already holds recipe.json" in refused("train", trained, *words)
    assert "drop --seed" in refused("train", trained, "--resume", "--seed", 3, "--steps", 9)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt"]


def test_damaged_recipes_and_checkpoints_are_refused(trained: Path, tmp_path: Path, refused: Refused) -> None:
    out = tmp_path / "out"
    shutil.copytree(trained, out)
    recipe = json.loads((out / "recipe.json").read_text())
    (out / "recipe.json").write_text(json.dumps({**recipe, "format": "dlqsm-recipe 9"}))
    assert "expected a recipe of dlqsm" in refused("train", out, "--resume", "--steps", 9)
    (out / "recipe.json").write_text(json.dumps({**recipe, "recipe": {"network": "cascade", "width": 3}}))
    assert "the recipe is damaged" in refused("train", out, "--resume", "--steps", 9)
    (out / "recipe.json").write_text(json.dumps(recipe))
    (out / "checkpoint.pt").write_bytes(np.random.default_rng(0).bytes(2000))
    assert "the checkpoint cannot be read" in refused("train", out, "--resume", "--steps", 9)


class _Renamed(torch.nn.Module):
    NAME, COMBINES = "renamed", False

    def __init__(self) -> None:
        super().__init__()
        self.settings: dict[str, object] = {}
        self.weight = torch.nn.Parameter(torch.zeros(1))
