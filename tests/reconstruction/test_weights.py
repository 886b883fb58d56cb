"""Files of weights: what is read is what was written, and what is not weights is refused in one sentence."""

import hashlib
import json
import os
import re
from importlib import resources
from pathlib import Path

import pytest
import torch
from networks import random_network
from safetensors.torch import save_file

from dlqsm.core.checks import InputError
from dlqsm.reconstruction.learned import NETWORKS
from dlqsm.reconstruction.learned.cascade import CascadeNetwork
from dlqsm.reconstruction.learned.weights import (
    FORMAT,
    describe_weights,
    load_network,
    read_card,
    read_network,
    save_network,
    weights_file,
)

SHIPPED = Path(str(resources.files("dlqsm.reconstruction.learned"))) / "shipped"
LARGEST_BYTES = 10e6


@pytest.fixture
def network() -> CascadeNetwork:
    return random_network("cascade", features=4)


@pytest.fixture
def path(network, tmp_path) -> Path:
    file = tmp_path / "some weights.safetensors"
    save_network(file, network, {"data": "virtual heads", "minutes": 12.5})
    return file


class TestWhatIsWrittenIsRead:
    def test_weights_settings_and_card(self, network, path):
        again = read_network(CascadeNetwork, path)
        assert again.settings == network.settings
        for name, value in network.state_dict().items():
            assert torch.equal(again.state_dict()[name], value)
        assert read_card(path) == {"data": "virtual heads", "minutes": 12.5}
        assert sorted(file.name for file in path.parent.iterdir()) == [path.name]

    def test_one_network_serves_all_until_the_file_changes(self, path):
        first = load_network(CascadeNetwork, path)
        assert load_network(CascadeNetwork, str(path), torch.device("cpu")) is first
        assert not first.training and not any(value.requires_grad for value in first.parameters())
        save_network(path, random_network("cascade", seed=9, features=4), {})
        os.utime(path, ns=(1, path.stat().st_mtime_ns + 10**9))
        changed = load_network(CascadeNetwork, path)
        assert changed is not first and not torch.equal(changed.log_weights + 1, first.log_weights)

    def test_a_network_to_train_further_is_one_s_own(self, path):
        mine = read_network(CascadeNetwork, path)
        assert mine is not read_network(CascadeNetwork, path)
        assert all(value.requires_grad for value in mine.parameters())

    def test_a_record_names_the_file_by_its_content(self, path, network):
        described = describe_weights("cascade", path)
        assert described["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert described["settings"] == network.settings and not described["shipped"]
        assert json.dumps(described)


def text(of: CascadeNetwork, **changes) -> dict[str, str]:
    plain = {"format": FORMAT, "network": "cascade", "settings": json.dumps(of.settings), "card": "{}"}
    return {key: value for key, value in {**plain, **changes}.items() if value is not None}


def settings_with(network, **changes) -> str:
    return json.dumps({**network.settings, **changes})


class TestWhatIsNotWeightsIsRefused:
    def refused(self, path) -> str:
        with pytest.raises(InputError) as caught:
            load_network(CascadeNetwork, path)
        sentence = str(caught.value)
        assert sentence.startswith(str(path)) and "\n" not in sentence
        return sentence

    def test_no_file(self, tmp_path):
        assert "does not exist" in self.refused(tmp_path / "absent.safetensors")
        assert "is a folder" in self.refused(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"some text", b"\xff" * 64, b"\x10\x00\x00\x00\x00\x00\x00\x00{}"])
    def test_not_safetensors(self, tmp_path, content):
        path = tmp_path / "weights.safetensors"
        path.write_bytes(content)
        assert "not a safetensors file" in self.refused(path)

    def test_a_pickle_is_not_opened(self, tmp_path):
        path, trap = tmp_path / "weights.pt", tmp_path / "trap"
        torch.save({"weights": Trap(trap)}, path)
        assert "reading them can run code" in self.refused(path)
        assert not trap.exists()

    def test_cut_short(self, path):
        path.write_bytes(path.read_bytes()[:-100])
        assert "not a safetensors file" in self.refused(path)

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"format": None}, "does not say that they are weights of dlqsm"),
            ({"format": "dlqsm-weights 0"}, "has the format 'dlqsm-weights 0', expected 'dlqsm-weights 1'"),
            ({"network": "joint"}, "holds weights of 'joint', expected 'cascade'"),
            ({"settings": None}, "its text 'settings' is damaged"),
            ({"settings": "{"}, "its text 'settings' is damaged"),
            ({"settings": "[1]"}, "its text 'settings' is damaged"),
            ({"settings": '{"depth": 3}'}, "settings of 'cascade' cannot be used: .*depth"),
            ({"settings": '{"features": "many"}'}, "settings of 'cascade' cannot be used"),
            ({"settings": '{"features": 1000000000}'}, "features must be 1 to"),
        ],
    )
    def test_text_that_is_not_right(self, network, path, changes, sentence):
        save_file(network.state_dict(), path, metadata=text(network, **changes))
        assert re.search(sentence, self.refused(path))

    def test_settings_of_another_size(self, network, path):
        save_file(network.state_dict(), path, metadata=text(network, settings=settings_with(network, features=5)))
        assert "'blocks.0.layers.0.bias' has shape (4,), expected (5,)" in self.refused(path)
        save_file(network.state_dict(), path, metadata=text(network, settings=settings_with(network, n_blocks=3)))
        assert "'blocks.2.layers.0.bias' is absent" in self.refused(path)
        save_file(network.state_dict(), path, metadata=text(network, settings=settings_with(network, n_blocks=1)))
        assert "is not part of the network" in self.refused(path)

    @pytest.mark.parametrize("spoilt", [torch.full((2,), float("nan")), torch.zeros(2, dtype=torch.int64)])
    def test_values_that_are_no_numbers(self, network, path, spoilt):
        save_file({**network.state_dict(), "log_weights": spoilt}, path, metadata=text(network))
        assert "'log_weights' holds values that are no finite numbers" in self.refused(path)

    def test_a_damaged_card(self, network, path):
        save_file(network.state_dict(), path, metadata=text(network, card="?"))
        with pytest.raises(InputError, match="its text 'card' is damaged"):
            read_card(path)


class Trap:
    """Unpickling it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


class TestShipped:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_weights_are_found_or_their_absence_is_said(self, name):
        if (SHIPPED / f"{name}.safetensors").is_file():
            assert load_network(NETWORKS[name], None).halo_planes >= 0
            assert weights_file(name, None) == SHIPPED / f"{name}.safetensors"
        else:
            with pytest.raises(InputError, match=f"no weights of '{name}' come with this version"):
                load_network(NETWORKS[name], None)

    def test_every_file_is_small_belongs_to_a_network_and_has_a_card_with_its_hash(self):
        for file in SHIPPED.glob("*.safetensors"):
            assert file.stem in NETWORKS and file.stat().st_size < LARGEST_BYTES
            card = file.with_suffix(".md").read_text()
            assert hashlib.sha256(file.read_bytes()).hexdigest() in card, f"{file.name} is not what its card describes"
            assert read_card(file)

    def test_every_card_has_its_weights(self):
        for card in SHIPPED.glob("*.md"):
            assert card.name == "README.md" or card.with_suffix(".safetensors").is_file()
