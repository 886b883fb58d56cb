"""Settings that a person writes, and weights that a network left: TOML and safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from malformed_case import Case
from safetensors import safe_open
from safetensors.torch import save_file
from small_inputs import CONFIG, PROTOCOL, WEIGHTS, cut, echo_images, raw, weights, write_text

TITLE = "Configurations, protocols and weights"


def _config(text: str) -> Any:
    return lambda folder: echo_images(folder) or write_text(folder / "config.toml", text)


def _protocol(text: str) -> Any:
    return lambda folder: write_text(folder / "protocol.toml", text)


def _weights(change: Any = None, **text: str) -> Any:
    """Weights with tensors or text changed."""

    def make(folder: Path) -> None:
        path = weights(folder)
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            told = dict(file.metadata()) | text
        if change is not None:
            change(tensors)
        save_file(tensors, path, metadata={k: v for k, v in told.items() if v})

    return make


def _pickled(folder: Path) -> None:
    raw(folder)
    torch.save({"weight": torch.zeros(3)}, folder / "weights.safetensors")


def _nan(tensors: dict[str, torch.Tensor]) -> None:
    tensors["log_weights"] = torch.full_like(tensors["log_weights"], torch.nan)


def _short(tensors: dict[str, torch.Tensor]) -> None:
    tensors["log_weights"] = tensors["log_weights"][:1].clone()


_FILE = "IN/weights.safetensors"
_SETTINGS = {"features": 4, "x_extents": [1, 3, 3], "n_blocks": 2, "typical_snr": 20.0, "exact": False}

CASES = (
    Case("toml_missing", "a configuration that is not there", echo_images, CONFIG,
         "IN/config.toml: there is no such file"),
    Case("toml_folder", "a folder in its place", lambda f: echo_images(f) or (f / "config.toml").mkdir(), CONFIG,
         "IN/config.toml: is a folder; expected a file"),
    Case("toml_broken", "TOML that is cut short", _config("[inversion\nmethod = "), CONFIG,
         "IN/config.toml: expected TOML, but it cannot be read (…)"),
    Case("toml_latin", "TOML that is not UTF-8",
         lambda f: echo_images(f) or (f / "config.toml").write_bytes(b'reference = "f\xfcr"'), CONFIG,
         "IN/config.toml: expected TOML, but it cannot be read (…)"),
    Case("toml_deep", "TOML of 5000 brackets", _config("a = " + 5000 * "["), CONFIG,
         "IN/config.toml: expected TOML, but it cannot be read (…)"),
    Case("toml_digits", "a number of 5000 digits", _config("[inversion]\nstrength = " + 5000 * "1"), CONFIG,
         "IN/config.toml: expected TOML, but it cannot be read (…)"),
    Case("toml_step", "a step that does not exist", _config('[inverse]\nmethod = "l1"'), CONFIG,
         "IN/config.toml: unknown entry 'inverse'; expected reference = \"...\" or a table "
         "[reconstruction.METHOD], [field], [unwrap], [background], [inversion], [cluster]"),
    Case("toml_method", "a method that does not exist", _config('[inversion]\nmethod = "magic"'), CONFIG,
         "IN/config.toml: unknown inversion method 'magic'; choose one of l1, tv, fansi, medi, tgv, ilsqr, tkd, "
         "tikhonov"),
    Case("toml_method_number", "a number in the place of a method", _config("[inversion]\nmethod = 3"), CONFIG,
         "IN/config.toml: the method of [inversion] must be a name in quotes; got 3"),
    Case("toml_option", "an option that the method does not have", _config('[inversion]\nmethod = "tkd"\nlambda = 3'),
         CONFIG, "IN/config.toml: inversion method 'tkd' has no option 'lambda'; its options are: threshold"),
    Case("toml_option_text", "text in the place of a number", _config('[inversion]\nmethod = "tkd"\nthreshold = "0.2"'),
         CONFIG, "IN/config.toml: the option threshold of [inversion] must be a number; got '0.2'"),
    Case("toml_option_nan", "an option that is no number", _config('[inversion]\nmethod = "tkd"\nthreshold = nan'),
         CONFIG, "IN/config.toml: the option threshold of [inversion] must be a number; got nan"),
    Case("toml_reference", "a reference that does not exist", _config('reference = "liver"'), CONFIG,
         "IN/config.toml: unknown reference 'liver'; choose one of brain, csf", pain=13),
    Case("protocol_missing", "a protocol that is not there", lambda f: None, PROTOCOL,
         "unknown protocol 'IN/protocol.toml'; choose one of paper, small, or name a TOML file"),
    Case("protocol_key", "an entry that protocols do not have", _protocol("matrix = [16, 16, 16]"), PROTOCOL,
         "IN/protocol.toml: unknown protocol key 'matrix'; known keys are base, name, shape, voxel_size_mm, "
         "fine_factor, n_coils, echo_times_s, repetition_time_s, flip_angle_deg, field_strength_t, snr, tilt_deg, "
         "slab_edge, lying_rotation_sd_deg, lying_translation_sd_mm, pose_rotation_sd_deg, pose_translation_sd_mm, "
         "drift_ppm, shim_sd_ppm"),
    Case("protocol_times_ms", "echo times in milliseconds", _protocol("echo_times_s = [4.0, 8.0]"), PROTOCOL,
         "IN/protocol.toml: echo time 8.0 s is longer than 0.5 s; give echo times in seconds, not "
         "milliseconds", pain=8),
    Case("protocol_times", "echo times out of order", _protocol("echo_times_s = [0.008, 0.004]"), PROTOCOL,
         "IN/protocol.toml: echo times must ascend; got [0.008, 0.004] s", pain=8),
    Case("protocol_coils", "a number of coils in words", _protocol('n_coils = "eight"'), PROTOCOL,
         "IN/protocol.toml: protocol key 'n_coils' must be of the form 32; got 'eight'"),
    Case("protocol_voxel", "voxels of zero", _protocol("voxel_size_mm = [0.0, 1.0, 1.0]"), PROTOCOL,
         "IN/protocol.toml: voxel_size_mm must be above zero in mm; got 0.0"),
    Case("protocol_shape", "an axis without voxels", _protocol("shape = [0, 32, 32]"), PROTOCOL,
         "IN/protocol.toml: shape must be above zero in voxels; got 0"),
    Case("protocol_nan", "a tilt that is no number", _protocol("tilt_deg = [nan, 0.0, 0.0]"), PROTOCOL,
         "IN/protocol.toml: tilt_deg must be finite numbers in degrees; got (nan, 0.0, 0.0)", pain=7),
    Case("weights_missing", "weights that are not there", raw, WEIGHTS,
         f"{_FILE}: expected a file of weights for 'cascade' (.safetensors), but it does not exist", pain=22),
    Case("weights_folder", "a folder in the place of weights", lambda f: raw(f) and (f / "weights.safetensors").mkdir(),
         WEIGHTS, f"{_FILE}: expected a file of weights for 'cascade' (.safetensors), but it is a folder"),
    Case("weights_pickle", "weights that PyTorch pickled", _pickled, WEIGHTS,
         "IN/weights.safetensors: not a safetensors file (…); weights are what dlqsm train writes, and PyTorch's own "
         "files are not read because reading them can run code", pain=22),
    Case("weights_cut", "weights that are cut short", lambda f: cut(weights(f)), WEIGHTS,
         "IN/weights.safetensors: not a safetensors file (…); weights are what dlqsm train writes, and PyTorch's own "
         "files are not read because reading them can run code"),
    Case("weights_foreign", "tensors of another program", _weights(format=""), WEIGHTS,
         f"{_FILE}: holds tensors, but does not say that they are weights of dlqsm", pain=22),
    Case("weights_format", "weights of another version", _weights(format="dlqsm-weights 9"), WEIGHTS,
         f"{_FILE}: has the format 'dlqsm-weights 9', expected 'dlqsm-weights 1'; train again with this version"),
    Case("weights_network", "weights of another network", _weights(network="joint"), WEIGHTS,
         f"{_FILE}: holds weights of 'joint', expected 'cascade'; choose the method of that name", pain=11),
    Case("weights_settings", "settings that are no JSON", _weights(settings="features=4"), WEIGHTS,
         f"{_FILE}: its text 'settings' is damaged, expected a JSON object; fetch or train it again"),
    Case("weights_absurd", "settings of a million million features",
         _weights(settings=json.dumps(_SETTINGS | {"features": 10**12})), WEIGHTS,
         "IN/weights.safetensors: settings of 'cascade' cannot be used: features must be 1 to 1024; got "
         "1000000000000", pain=18),
    Case("weights_negative", "settings below zero", _weights(settings=json.dumps(_SETTINGS | {"n_blocks": -1})),
         WEIGHTS,
         "IN/weights.safetensors: settings of 'cascade' cannot be used: n_blocks must be 1 to 32; got -1"),
    Case("weights_nan", "weights that are no numbers", _weights(_nan), WEIGHTS,
         f"{_FILE}: tensor 'log_weights' holds values that are no finite numbers; expected floats"),
    Case("weights_shape", "a tensor of another shape", _weights(_short), WEIGHTS,
         f"{_FILE}: tensor 'log_weights' has shape (1,), expected (2,)"),
    Case("weights_absent", "a tensor that is missing", _weights(lambda t: t.pop("log_weights")), WEIGHTS,
         f"{_FILE}: its tensors do not fit its settings: 'log_weights' is absent; fetch or train the file again"),
)  # fmt: skip
