"""Nuclei of a phantom in two arms: placed, moved, measured, kept; and what is refused."""

import dataclasses
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from phantom import motion, phantom_atlas, scanned
from scipy.spatial.transform import Rotation

from dlqsm.core.atlas import Atlas
from dlqsm.core.checks import InputError
from dlqsm.core.labels import NUCLEI, label_table
from dlqsm.core.scan import Grid
from dlqsm.nuclei.transforms import Linear, resample
from dlqsm.nuclei.weighting import measure_nuclei
from dlqsm.pipeline import alignment, transform_store
from dlqsm.pipeline.alignment import Alignment
from dlqsm.pipeline.nuclei import ArmMap, ArmNuclei, find_atlas, locate_nuclei, measure_arm, small_labels

POSE = motion((1.5, -2.0, 2.0), (1.5, -1.0, 2.0))
STRETCH = np.diag([0.95, 1.04, 0.97, 1.0])
"""The participant's brain is not the atlas's."""


def _arm(name: str, grid: Grid, to_brain: np.ndarray, seed: int) -> ArmMap:
    made = scanned(grid, to_brain, seed)
    return ArmMap(name, grid, made["magnitude"].abs(), made["chi"], made["brain"], made["brain"])


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return phantom_atlas()


@pytest.fixture(scope="module")
def arms() -> list[ArmMap]:
    tilted = Rotation.from_euler("xyz", [8, 0, 5], degrees=True).as_matrix()
    first = Grid.centred((54, 64, 34), (1.6, 1.6, 2.4), np.eye(3))
    second = Grid.centred((60, 60, 40), (1.5, 1.7, 2.2), tilted)
    return [_arm("PI2", first, STRETCH, 1), _arm("DL4", second, STRETCH @ np.linalg.inv(POSE), 2)]


@pytest.fixture(scope="module")
def located(arms: list[ArmMap], atlas: Atlas, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[ArmNuclei], Path]:
    store = tmp_path_factory.mktemp("store")
    return locate_nuclei(arms, atlas, reference="PI2", store=store), store


def _dice(found: torch.Tensor, shares: torch.Tensor) -> list[float]:
    true = torch.where(shares.amax(0) >= 0.5, shares.argmax(0) + 1, 0)
    values = []
    for number in label_table():
        a, b = found == number, true == number
        values.append(2 * float((a & b).sum()) / float(a.sum() + b.sum()))
    return values


class TestLocate:
    def test_labels_lie_on_the_nuclei_of_both_arms(
        self, located: tuple[list[ArmNuclei], Path], arms: list[ArmMap]
    ) -> None:
        for nuclei, arm, to_brain in zip(located[0], arms, (STRETCH, STRETCH @ np.linalg.inv(POSE)), strict=True):
            truth = scanned(arm.grid, to_brain)["shares"]
            values = _dice(nuclei.labels, truth)
            assert np.mean(values) > 0.75, values
            assert min(values) > 0.45, values

    def test_the_motion_between_arms_is_told(self, located: tuple[list[ArmNuclei], Path]) -> None:
        account = located[0][1].account
        assert account["rotation_deg"] == pytest.approx(np.linalg.norm((1.5, -2.0, 2.0)), abs=0.3)
        assert account["translation_mm"] == pytest.approx(np.linalg.norm((1.5, -1.0, 2.0)), abs=0.4)
        assert account["local_correlation"]["after"] > account["local_correlation"]["before"]

    def test_chi_loses_its_mean_over_one_shared_mask(
        self, located: tuple[list[ArmNuclei], Path], arms: list[ArmMap]
    ) -> None:
        volumes = []
        for nuclei, arm in zip(located[0], arms, strict=True):
            assert abs(float(nuclei.chi_ppm[nuclei.common].mean())) < 1e-7
            assert bool((nuclei.common <= arm.valid).all())
            volumes.append(float(nuclei.common.sum()) * arm.grid.voxel_volume_mm3)
        assert volumes[0] == pytest.approx(volumes[1], rel=0.02)

    def test_arms_agree_on_the_nuclei(self, located: tuple[list[ArmNuclei], Path]) -> None:
        tables = [measure_arm(nuclei, label_table(), participant="sub-01") for nuclei in located[0]]
        both = [table[table["side"] == "both"].set_index("roi")["mean_ppb"] for table in tables]
        assert list(both[0].index) == list(NUCLEI)
        assert (both[0] - both[1]).abs().mean() < 6.0

    def test_like_the_paper_all_arms_have_the_references_grid(
        self, located: tuple[list[ArmNuclei], Path], arms: list[ArmMap], atlas: Atlas
    ) -> None:
        found = locate_nuclei(arms, atlas, reference="PI2", store=located[1], like_paper=True)
        assert all(nuclei.grid == arms[0].grid for nuclei in found)
        assert torch.equal(found[0].labels, found[1].labels)
        assert torch.equal(found[0].common, found[1].common)
        assert "trilinear" in found[1].account["resampled"]
        assert "resampled" not in found[0].account
        inside = found[0].labels > 0
        difference = (found[0].chi_ppm - found[1].chi_ppm)[inside]
        assert float(difference.abs().mean()) < 0.015

    @pytest.mark.parametrize("like_paper", [False, True])
    def test_errors_that_are_multiples_of_the_map_give_multiples_of_each_value(
        self, located: tuple[list[ArmNuclei], Path], arms: list[ArmMap], atlas: Atlas, like_paper: bool
    ) -> None:
        found = locate_nuclei(arms, atlas, reference="PI2", store=located[1], like_paper=like_paper)[1]
        factors = 0.1 * torch.randn(30, generator=torch.Generator().manual_seed(4))
        errors_ppm = factors[:, None, None, None] * (arms[1].chi_ppm * arms[1].valid)
        table = measure_arm(found, label_table(), participant="sub-01", errors_ppm=errors_ppm)
        expected = table["mean_ppb"].abs() * float(factors.std())
        np.testing.assert_allclose(table["noise_sd_ppb"], expected, rtol=1e-3)
        with pytest.raises(InputError, match="a realisation of arm DL4 has shape"):
            measure_arm(found, label_table(), participant="sub-01", errors_ppm=errors_ppm[:, 1:])


class TestNoArmIsFavoured:
    def test_the_placement_is_the_same_where_two_arms_exchange_their_susceptibility(self, atlas: Atlas) -> None:
        """Their images are the same; labels that the reference alone had placed would follow its noise."""
        grid = Grid.centred((54, 64, 34), (1.6, 1.6, 2.4), np.eye(3))
        first, second = _arm("PI2", grid, STRETCH, 1), _arm("PI2rep", grid, STRETCH, 2)
        second = dataclasses.replace(second, magnitude=first.magnitude, chi_ppm=second.chi_ppm * 1.1)
        exchanged = [
            dataclasses.replace(arm, chi_ppm=other.chi_ppm) for arm, other in ((first, second), (second, first))
        ]
        still, chains = Linear(np.eye(4)), []
        for pair in ([first, second], exchanged):
            run = Alignment(pair[0], atlas, "magnitude+chi", None, 0, lambda step, seconds: None)
            placed, told = run.placement(None, [(arm, still) for arm in pair])
            assert told["susceptibility"] == ["PI2", "PI2rep"]
            chains.append(resample(atlas.probabilities, atlas.grid, grid, placed.chain))
        assert torch.equal(*chains)

    def test_a_phase_turned_over_and_another_head_move_nothing_of_the_others(
        self, located: tuple[list[ArmNuclei], Path], arms: list[ArmMap], atlas: Atlas, tmp_path: Path
    ) -> None:
        """All arms are labelled by this placement: one bad scan must not move the labels of the good ones."""
        store = tmp_path / "xfm"
        shutil.copytree(located[1], store)
        turned = dataclasses.replace(arms[1], name="TURNED", chi_ppm=-arms[1].chi_ppm)
        noise = torch.randn(arms[0].magnitude.shape, generator=torch.Generator().manual_seed(5))
        half = arms[0].valid & (torch.arange(noise.shape[0]) < noise.shape[0] // 2)[:, None, None]
        bad = {"magnitude": noise.abs(), "chi_ppm": 0.05 * noise, "valid": half}
        stranger = dataclasses.replace(arms[0], name="OTHER", **bad)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            found = locate_nuclei([*arms, turned, stranger], atlas, reference="PI2", store=store)
        told = found[0].account["placement"]
        assert told["susceptibility"] == ["PI2", "DL4"]
        assert set(told["left_out"]) == {"TURNED", "OTHER"}
        assert told["left_out"]["TURNED"].startswith("correlation of its susceptibility with that of PI2 is -0.")
        assert told["left_out"]["OTHER"].startswith("local correlation of its image with that of PI2 is 0.")
        assert told["transform"].endswith("reused")
        for before, after in zip(located[0], found, strict=False):
            assert all(
                torch.equal(getattr(before, what), getattr(after, what)) for what in ("labels", "common", "chi_ppm")
            )
        assert "left_out" not in located[0][0].account["placement"]


class TestStore:
    def test_kept_transforms_are_used_again_and_give_the_same_labels(
        self,
        located: tuple[list[ArmNuclei], Path],
        arms: list[ArmMap],
        atlas: Atlas,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("registered again")

        monkeypatch.setattr(alignment, "rigid", refuse)
        monkeypatch.setattr(alignment, "place_atlas", refuse)
        again = locate_nuclei(arms, atlas, reference="PI2", store=located[1])
        for first, second in zip(located[0], again, strict=True):
            assert torch.equal(first.labels, second.labels)
        assert again[1].account["transform"].endswith("reused")

    def test_another_input_a_damaged_file_and_other_code_make_them_anew(
        self,
        located: tuple[list[ArmNuclei], Path],
        arms: list[ArmMap],
        atlas: Atlas,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        class MadeAnewError(Exception):
            pass

        def notice(*_: object, **__: object) -> None:
            raise MadeAnewError

        monkeypatch.setattr(alignment, "rigid", notice)
        changed = [arms[0], dataclasses.replace(arms[1], magnitude=arms[1].magnitude * 1.01)]
        with pytest.raises(MadeAnewError):
            locate_nuclei(changed, atlas, reference="PI2", store=located[1])
        file = located[1] / "from-PI2_to-DL4_xfm_0.mat"
        whole = file.read_bytes()
        file.write_bytes(whole[:-8])
        with pytest.raises(MadeAnewError):
            locate_nuclei(arms, atlas, reference="PI2", store=located[1])
        file.write_bytes(whole)
        monkeypatch.setattr(transform_store, "code_hash", lambda parts: "of other code")
        with pytest.raises(MadeAnewError):
            locate_nuclei(arms, atlas, reference="PI2", store=located[1])

    def test_the_record_tells_input_settings_and_versions(self, located: tuple[list[ArmNuclei], Path]) -> None:
        told = json.loads((located[1] / "from-PI2_to-phantom_xfm.json").read_text())
        assert set(told) == {"inputs", "parameters", "software", "account", "files"}
        assert {"PI2 magnitude", "PI2 chi_ppm", "atlas template"} <= set(told["inputs"])
        assert {"antspyx", "code"} <= set(told["software"])


class TestRefused:
    def test_what_does_not_fit_is_one_sentence(self, arms: list[ArmMap], atlas: Atlas) -> None:
        with pytest.raises(InputError, match="not among the arms"):
            locate_nuclei(arms, atlas, reference="DL9")
        with pytest.raises(InputError, match="named twice"):
            locate_nuclei([arms[0], arms[0]], atlas, reference="PI2")
        with pytest.raises(InputError, match="need a T1-weighted image"):
            locate_nuclei(arms, atlas, reference="PI2", channels="t1w")
        with pytest.raises(InputError, match="has no susceptibility"):
            locate_nuclei(arms[:1], dataclasses.replace(atlas, chi_ppm=None), reference="PI2", channels="magnitude+chi")
        with pytest.raises(InputError, match="unknown channels"):
            locate_nuclei(arms, atlas, reference="PI2", channels="t2w")
        with pytest.raises(InputError, match="neither virtual nor cit168"):
            find_atlas("atlas_of_nowhere")

    def test_a_nucleus_outside_the_valid_mask_is_warned_of(
        self, located: tuple[list[ArmNuclei], Path], arms: list[ArmMap], atlas: Atlas
    ) -> None:
        low = dataclasses.replace(arms[1], valid=arms[1].valid.clone())
        low.valid[:, :, :17] = False
        with pytest.warns(UserWarning, match=r"partly outside the valid mask: .*RN_left"):
            found = locate_nuclei([arms[0], low], atlas, reference="PI2", store=located[1])
        assert found[1].account["coverage"]["RN_left"]["valid"] < 0.5
        # What one arm lacks is measured in none.
        table = measure_arm(found[0], label_table(), participant="sub-01")
        whole = measure_arm(located[0][0], label_table(), participant="sub-01")
        assert int(table.loc[table["roi"] == "SNr", "n_voxels"].sum()) < int(
            whole.loc[whole["roi"] == "SNr", "n_voxels"].sum()
        )

    def test_labels_of_few_voxels_are_named(self, located: tuple[list[ArmNuclei], Path], atlas: Atlas) -> None:
        found = located[0][0]
        number = next(n for n, (roi, side) in atlas.names.items() if (roi, side) == ("RN", "left"))
        common = found.common & (found.labels != number)
        common[tuple(torch.nonzero(found.labels == number)[:3].T)] = True
        told = small_labels(dataclasses.replace(found, common=common), atlas.names)
        assert told is not None
        assert "arm PI2: fewer than 10 voxels: " in told
        assert "RN left 3" in told
        large = torch.ones((30, 30, 30), dtype=torch.uint8) * number
        alone = {number: ("RN", "left")}
        whole = dataclasses.replace(found, labels=large, common=torch.ones_like(large, dtype=torch.bool))
        assert small_labels(whole, alone) is None

    def test_a_good_placement_warns_of_nothing(
        self, located: tuple[list[ArmNuclei], Path], arms: list[ArmMap], atlas: Atlas
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            locate_nuclei(arms, atlas, reference="PI2", store=located[1])


class TestWeighting:
    GRID = Grid((4, 1, 1), (1.0, 2.0, 3.0))

    def _measure(self, weighting: str) -> tuple[float, int, float]:
        chi = torch.tensor([0.1, 0.2, 0.4, float("nan")])[:, None, None]
        shares = torch.zeros((2, 4, 1, 1))
        shares[0, :, 0, 0] = torch.tensor([1.0, 0.6, 0.2, 1.0])
        table = measure_nuclei(
            chi,
            shares,
            {1: ("Pu", "left"), 2: ("Pu", "right")},
            self.GRID,
            participant="a",
            arm="b",
            weighting=weighting,
        )
        row = table[(table["roi"] == "Pu") & (table["side"] == "left")].iloc[0]
        return float(row["mean_ppb"]), int(row["n_voxels"]), float(row["volume_mm3"])

    def test_means_by_hand(self) -> None:
        assert self._measure("label") == pytest.approx((150.0, 2, 12.0))
        weighted = (0.1 * 1.0 + 0.2 * 0.6 + 0.4 * 0.2) / 1.8 * 1e3
        assert self._measure("probability") == pytest.approx((weighted, 3, 1.8 * 6.0))
        assert self._measure("eroded") == pytest.approx((100.0, 1, 6.0))

    def test_another_weighting_is_refused(self) -> None:
        with pytest.raises(InputError, match="unknown weighting"):
            self._measure("median")
