"""config.json: the architecture, its arguments and how images reach it, as timm reads and writes it.

What comes from a Hub repository or a folder is somebody else's: every value is checked before a net of
its sizes is built.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from .._version import __version__
from ..common.arguments import is_integer, keywords_of
from ..common.messages import did_you_mean, one_line
from ..models.feature_net import FeatureNet
from ..models.meta import build_on_meta
from ..models.pretrained_cfg import PretrainedCfg, cfg_of
from ..models.registry import get_pretrained_cfg, model_entrypoint

CONFIG, WEIGHTS = "config.json", "model.safetensors"

MOST_BYTES = 16 * 2**20
MOST_LAYERS = 2000
MOST_COLUMNS = 8
MOST_STAGES = 16
MOST_CHANNELS = 1_000_000
MOST_PARAMETERS = 2**31
"""What a configuration file may ask for, so that none fills the memory; a fractal doubles with a column."""

TIMM_FIELDS = (
    *("architecture", "tag", "input_size", "min_input_size", "fixed_input_size", "interpolation"),
    *("crop_pct", "crop_mode", "mean", "std", "num_classes", "label_names", "pool_size", "first_conv"),
    *("classifier", "license", "paper_name", "paper_ids"),
)
"""timm's dataclass takes these and refuses others, so the rest of ours goes elsewhere in the file."""

EVIDENCE = ("data", "top1", "recipe", "epochs", "seed", "library_version", "git_commit")


@dataclass(frozen=True)
class Described:
    """What a config.json tells: which net, its arguments, and the configuration of its weights."""

    architecture: str
    model_args: dict[str, Any]
    cfg: PretrainedCfg


def config_of(model: nn.Module, weights_sha256: str, weights_size: int, evidence: bool) -> dict[str, Any]:
    """Return the content of config.json for a net by ``create_model``.

    Args:
        model: the net.
        weights_sha256: of the weight file beside the configuration.
        weights_size: of that file, in bytes.
        evidence: the figures of the model's ``pretrained_cfg`` are those of its weights.

    Raises:
        ValueError: the net was not built by ``create_model``, or has an argument that JSON cannot hold.
    """
    if isinstance(model, FeatureNet):
        raise ValueError(
            "a FeatureNet has no configuration of its own: save its state_dict, or the whole net before "
            "features_only"
        )
    known = cfg_of(model)
    arguments: dict[str, Any] | None = getattr(model, "model_args", None)
    if arguments is None or not known.get("architecture"):
        raise ValueError(
            f"this {type(model).__name__} does not say of which architecture it is: build it with "
            "create_model(name), so that others can build it again"
        )
    taken = keywords_of(model_entrypoint(known["architecture"]))
    current = [key for key in ("num_classes", "in_chans", "global_pool") if taken is None or key in taken]
    arguments = {**arguments, **{key: getattr(model, key) for key in current if hasattr(model, key)}}
    for key, value in arguments.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"the argument {key}={value!r} cannot be written to {CONFIG}; register a model that sets it "
                "(register_model) and build that one"
            ) from error
    config: dict[str, Any] = {
        "architecture": known["architecture"],
        "num_classes": getattr(model, "num_classes", known.get("num_classes")),
        "num_features": getattr(model, "num_features", None),
        "model_args": arguments,
        "pretrained_cfg": {key: known[key] for key in TIMM_FIELDS if known.get(key) is not None},
        "weights": {
            "file": WEIGHTS,
            "sha256": weights_sha256,
            "file_size": weights_size,
            "num_params": sum(parameter.numel() for parameter in model.parameters()),
        },
        "library": {"name": "sparsenet_models", "version": __version__},
    }
    if evidence:
        config["evidence"] = {key: known[key] for key in EVIDENCE if known.get(key) is not None}
    return config


def read_config(path: Path) -> Described:
    """Read and check a config.json of ours or of timm's.

    Raises:
        ValueError: it is none, or asks for what no net of the library is; the message names the file.
        OSError: it is missing or cannot be read.
    """
    config = _json(path)
    try:
        return _described(config)
    # RuntimeError and MemoryError are torch's words for sizes that no machine has.
    except (ValueError, TypeError, RuntimeError, MemoryError) as error:
        raise ValueError(f"{path} is refused: {one_line(str(error), 300)}") from error


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"configuration file not found: {path}")
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"{path} is no model configuration: it has {size:,} bytes")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    # RecursionError: brackets within brackets, without end.
    except (ValueError, RecursionError) as error:
        told = str(error).partition(";")[0]
        raise ValueError(f"{path} ({size:,} bytes) is not readable JSON: {one_line(told)}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} is no model configuration: it holds {type(config).__name__}, not an object")
    return config


def _described(config: Mapping[str, Any]) -> Described:
    architecture = config.get("architecture")
    if not isinstance(architecture, str):
        raise ValueError(f"architecture must be a name, got {_shortened(architecture)}")
    model_entrypoint(architecture)
    arguments = _object(config, "model_args")
    for key, value in arguments.items():
        _check_argument(key, value)
    fields = {**_object(config, "evidence"), **_object(config, "pretrained_cfg")}
    fields |= {key: config[key] for key in ("num_classes", "label_names") if key in config}
    # These two reach the net through its configuration, where the caller's own words beat them.
    classes, channels = arguments.pop("num_classes", None), arguments.pop("in_chans", None)
    if classes is not None:
        fields["num_classes"] = classes
    default = get_pretrained_cfg(architecture)
    if not default.has_data_config and "input_size" not in fields and channels is not None:
        arguments["in_chans"], channels = channels, None
    told = {key: getattr(default, key) for key in OUR_OWN}
    told |= {key: check(key, fields[key]) for key, check in CHECKS.items() if fields.get(key) is not None}
    weights = _object(config, "weights")
    if weights.get("sha256") is not None:
        told["sha256"] = _sha256("sha256", weights["sha256"])
    told["hf_hub_filename"] = _weight_file(weights.get("file") or fields.get("hf_hub_filename") or WEIGHTS)
    cfg = PretrainedCfg(architecture=architecture, **told)
    _check_consistent(cfg, channels)
    _check_buildable(cfg, arguments)
    return Described(architecture, arguments, cfg)


def _object(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = config.get(key)
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{key} must be an object, got {_shortened(value)}")
    return dict(value or {})


def _shortened(value: Any) -> str:
    return one_line(repr(value), 60)


def _refuse(key: str, expected: str, value: Any) -> ValueError:
    return ValueError(f"{key} must be {expected}, got {_shortened(value)}")


def _check_argument(key: str, value: Any) -> None:
    """Refuse an argument that is none, or that asks for more than any net of this kind has."""
    if key in LAYER_COUNTS:
        counts, most = value if isinstance(value, list) else [value], LAYER_COUNTS[key]
        if not all(is_integer(count) and 0 < count <= most for count in counts) or sum(counts) > most:
            raise _refuse(key, f"above 0 and at most {most:,} in all", value)
    elif key in FLAGS:
        if not isinstance(value, bool):
            raise _refuse(key, "true or false", value)
    elif isinstance(value, dict) or (isinstance(value, list) and len(value) > MOST_STAGES):
        raise _refuse(key, f"a number, a text or a list of at most {MOST_STAGES}", value)
    else:
        for number in value if isinstance(value, list) else [value]:
            if is_integer(number) and abs(number) > MOST_CHANNELS:
                raise _refuse(key, f"at most {MOST_CHANNELS:,}", value)


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _refuse(key, "a text", value)
    return value


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _refuse(key, "true or false", value)
    return value


def _count(key: str, value: Any) -> int:
    if not is_integer(value) or not 0 <= value <= MOST_CHANNELS:
        raise _refuse(key, f"a whole number up to {MOST_CHANNELS:,}", value)
    return value


def _seed(key: str, value: Any) -> int:
    if not is_integer(value):
        raise _refuse(key, "a whole number", value)
    return value


def _percent(key: str, value: Any) -> float:
    if not _is_number(value) or not 0 <= value <= 100:
        raise _refuse(key, "a number from 0 to 100", value)
    return value


def _positive_fraction(key: str, value: Any) -> float:
    if not _is_number(value) or not 0 < value <= 1:
        raise _refuse(key, "a number above 0, at most 1", value)
    return value


def _sizes(key: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(is_integer(side) and 0 < side <= 65536 for side in value):
        raise _refuse(key, "a list of sizes", value)
    return tuple(value)


def _three_sizes(key: str, value: Any) -> tuple[int, ...]:
    sizes = _sizes(key, value)
    if len(sizes) != 3:
        raise _refuse(key, "channels, height and width", value)
    return sizes


def _numbers(key: str, value: Any) -> tuple[float, ...]:
    if not isinstance(value, list) or not value or not all(map(_is_number, value)):
        raise _refuse(key, "a list of numbers", value)
    return tuple(value)


def _positive_numbers(key: str, value: Any) -> tuple[float, ...]:
    numbers = _numbers(key, value)
    if min(numbers) <= 0:
        raise _refuse(key, "a list of numbers above 0", value)
    return numbers


def _texts(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise _refuse(key, "a list of texts", value)
    return tuple(value)


def _sha256(key: str, value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
        raise _refuse(key, "64 hexadecimal digits", value)
    return value


def _weight_file(value: Any) -> str:
    """Refuse the name of a weight file that is no plain name, or not of a safe format."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_][\w.-]{0,200}\.safetensors", value):
        raise _refuse("the name of the weight file", "a plain NAME.safetensors, in no other folder", value)
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


GEOMETRY = ("input_size", "min_input_size", "pool_size", "interpolation", "crop_pct", "crop_mode")
OUR_OWN = ("first_conv", "classifier", "num_classes", "mean", "std", *GEOMETRY)
"""What the registered architecture knows already; a file cannot say which tensors are the head's."""

LAYER_COUNTS = {"depth": MOST_LAYERS, "layers": MOST_LAYERS, "columns": MOST_COLUMNS}
FLAGS = ("bottleneck",)

CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "tag": _text,
    "input_size": _three_sizes,
    "min_input_size": _three_sizes,
    "fixed_input_size": _flag,
    "pool_size": _sizes,
    "interpolation": _text,
    "crop_pct": _positive_fraction,
    "crop_mode": _text,
    "mean": _numbers,
    "std": _positive_numbers,
    "num_classes": _count,
    "label_names": _texts,
    "data": _text,
    "top1": _percent,
    "recipe": _text,
    "epochs": _count,
    "seed": _seed,
    "library_version": _text,
    "git_commit": _text,
    "license": _text,
    "paper_name": _text,
    "paper_ids": _text,
}


def _check_consistent(cfg: PretrainedCfg, in_chans: Any) -> None:
    channels = cfg.input_size[0]
    if in_chans is not None and in_chans != channels:
        raise ValueError(f"in_chans={_shortened(in_chans)} is not what input_size={cfg.input_size} says")
    for key in ("mean", "std"):
        if len(getattr(cfg, key)) != channels:
            raise ValueError(f"{key} must have a number for each of {channels} channels")
    if cfg.label_names is not None and len(cfg.label_names) != cfg.num_classes:
        raise ValueError(f"it names {len(cfg.label_names)} classes of {cfg.num_classes}")


def _check_buildable(cfg: PretrainedCfg, arguments: Mapping[str, Any]) -> None:
    """Build the net without memory, and count: only then is it built in earnest."""
    entrypoint = model_entrypoint(cfg.architecture)
    channels = {"in_chans": cfg.input_size[0]} if cfg.input_size[0] != 3 else {}
    classes = {} if cfg.num_classes is None else {"num_classes": cfg.num_classes}
    known = keywords_of(entrypoint)
    for key in arguments:
        if known is not None and key not in known:
            raise ValueError(f"{cfg.architecture} takes no argument {key!r}{did_you_mean(key, known)}")
    model = build_on_meta(entrypoint, **{**classes, **channels, **arguments})
    count = sum(parameter.numel() for parameter in model.parameters())
    if count > MOST_PARAMETERS:
        raise ValueError(f"it asks for {count:,} parameters; at most {MOST_PARAMETERS:,} are built")
