"""Checks of the values in a config.json or in the metadata of a weight file, which may come from anybody."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ..common.arguments import first_repeated, is_integer
from ..common.messages import one_line
from ..models.pretrained_cfg import WEIGHTS, PretrainedCfg

MAX_CHANNELS = 1_000_000
MAX_LAYERS = 2000
MAX_COLUMNS = 8  # a FractalNet doubles with each column
MAX_LENGTH = 16
MAX_SIDE = 4096
MIN_CROP_PCT = 0.05
MAX_RESIZED = 8192
"""Limits, so that no file asks for a net or an image that takes minutes or gigabytes to make."""

LAYER_COUNTS = {"depth": MAX_LAYERS, "layers": MAX_LAYERS, "columns": MAX_COLUMNS}
FLAGS = ("bottleneck",)

FROM_REGISTRY = (
    *("first_conv", "classifier", "num_classes", "mean", "std", "input_size", "min_input_size", "pool_size"),
    *("interpolation", "crop_pct", "crop_mode"),
)
"""The fields that the registered architecture gives where the file does not (the first two: always)."""


def checked_content(
    config: Mapping[str, Any], default: PretrainedCfg
) -> tuple[dict[str, Any], PretrainedCfg]:
    """Return the arguments of the net and the pretrained configuration that a config.json holds.

    The numbers of classes and of input channels are in the configuration, not among the arguments.

    Args:
        config: the content of the file.
        default: the configuration of the registered architecture.

    Raises:
        ValueError: a value is refused, or contradicts another; the message names its key.
    """
    arguments, weights = _object(config, "model_args"), _object(config, "weights")
    for key, value in arguments.items():
        _check_argument(key, value)
    fields = {**_object(config, "evidence"), **_object(config, "pretrained_cfg")}
    fields |= {key: config[key] for key in ("num_classes", "label_names") if key in config}
    classes, channels = arguments.pop("num_classes", None), arguments.pop("in_chans", None)
    if classes is not None:
        fields["num_classes"] = classes
    # A net without an image configuration has no input_size that could say how many channels it has.
    if not default.has_data_config and "input_size" not in fields and channels is not None:
        arguments["in_chans"], channels = channels, None
    checked = {key: getattr(default, key) for key in FROM_REGISTRY}
    checked |= {key: check(key, fields[key]) for key, check in CHECKS.items() if fields.get(key) is not None}
    if weights.get("sha256") is not None:
        checked["sha256"] = _sha256("sha256", weights["sha256"])
    checked["hf_hub_filename"] = _weight_file(weights.get("file") or fields.get("hf_hub_filename") or WEIGHTS)
    cfg = PretrainedCfg(architecture=default.architecture, **checked)
    _check_consistent(cfg, channels)
    return arguments, cfg


def short_repr(value: Any) -> str:
    """Return the ``repr`` of a value from a file, cut to what an error message has room for."""
    return one_line(repr(value), 60)


def _object(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = config.get(key)
    if value is not None and not isinstance(value, dict):
        raise _refusal(key, "an object", value)
    return dict(value or {})


def _check_argument(key: str, value: Any) -> None:
    """Refuse an argument of another type, or above the limits."""
    if key in LAYER_COUNTS:
        counts, limit = value if isinstance(value, list) else [value], LAYER_COUNTS[key]
        if not all(is_integer(count) and 0 < count <= limit for count in counts) or sum(counts) > limit:
            raise _refusal(key, f"above 0 and at most {limit:,} in all", value)
    elif key in FLAGS:
        _flag(key, value)
    elif isinstance(value, dict) or (isinstance(value, list) and len(value) > MAX_LENGTH):
        raise _refusal(key, f"a number, a text or a list of at most {MAX_LENGTH}", value)
    else:
        for number in value if isinstance(value, list) else [value]:
            if is_integer(number) and abs(number) > MAX_CHANNELS:
                raise _refusal(key, f"at most {MAX_CHANNELS:,}", value)


def check_images(fields: Mapping[str, Any]) -> None:
    """Refuse sides and a crop for which an image would take gigabytes, and classes of the same name.

    Args:
        fields: checked fields of ``PretrainedCfg`` by name; some may be missing.
    """
    side = max(fields.get("input_size") or (0,)) / fields.get("crop_pct", 1)
    if side > MAX_RESIZED:
        raise ValueError(
            f"images would be resized to {side:,.0f} pixels, for input_size={fields['input_size']} and "
            f"crop_pct={fields['crop_pct']}; at most {MAX_RESIZED:,} are allowed"
        )
    twice = first_repeated(fields.get("label_names") or ())
    if twice is not None:
        raise ValueError(f"label_names names {short_repr(twice)} twice")


def _check_consistent(cfg: PretrainedCfg, in_chans: Any) -> None:
    check_images(vars(cfg))
    if cfg.label_names is not None and len(cfg.label_names) != cfg.num_classes:
        raise ValueError(f"label_names names {len(cfg.label_names)} classes of {cfg.num_classes}")
    if cfg.input_size is None:
        return
    least = cfg.min_input_size[1:] if cfg.min_input_size else (1, 1)
    if any(side < minimum for side, minimum in zip(cfg.input_size[1:], least)):
        raise ValueError(f"input_size={cfg.input_size} is below min_input_size={cfg.min_input_size}")
    channels = cfg.input_size[0]
    if in_chans is not None and in_chans != channels:
        raise ValueError(f"in_chans={short_repr(in_chans)} contradicts input_size={cfg.input_size}")
    for key in ("mean", "std"):
        if len(getattr(cfg, key)) != channels:
            raise ValueError(f"{key} must have a number for each of {channels} channels")


def _refusal(key: str, expected: str, value: Any) -> ValueError:
    return ValueError(f"{key} must be {expected}, got {short_repr(value)}")


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _refusal(key, "a text", value)
    return value


def _texts(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise _refusal(key, "a list of texts", value)
    return tuple(value)


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _refusal(key, "true or false", value)
    return value


def _integer(key: str, value: Any) -> int:
    if not is_integer(value):
        raise _refusal(key, "a whole number", value)
    return value


def _count(key: str, value: Any) -> int:
    if not is_integer(value) or not 0 <= value <= MAX_CHANNELS:
        raise _refusal(key, f"a whole number up to {MAX_CHANNELS:,}", value)
    return value


def _percent(key: str, value: Any) -> float:
    if not _is_number(value) or not 0 <= value <= 100:
        raise _refusal(key, "a number from 0 to 100", value)
    return value


def _crop_pct(key: str, value: Any) -> float:
    if not _is_number(value) or not MIN_CROP_PCT <= value <= 1:
        raise _refusal(key, f"a number from {MIN_CROP_PCT} to 1", value)
    return value


def _numbers(key: str, value: Any) -> tuple[float, ...]:
    if not isinstance(value, list) or not value or not all(map(_is_number, value)):
        raise _refusal(key, "a list of numbers", value)
    return tuple(value)


def _positive_numbers(key: str, value: Any) -> tuple[float, ...]:
    numbers = _numbers(key, value)
    if min(numbers) <= 0:
        raise _refusal(key, "a list of numbers above 0", value)
    return numbers


def _sizes(key: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(is_integer(side) and 0 < side <= MAX_SIDE for side in value):
        raise _refusal(key, f"a list of sizes up to {MAX_SIDE}", value)
    return tuple(value)


def _image_size(key: str, value: Any) -> tuple[int, ...]:
    sizes = _sizes(key, value)
    if len(sizes) != 3:
        raise _refusal(key, "channels, height and width", value)
    return sizes


def _sha256(key: str, value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
        raise _refusal(key, "64 hexadecimal digits", value)
    return value


def _weight_file(value: Any) -> str:
    """Refuse a name that leads to another folder, or to a format that could run code."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_][\w.-]{0,200}\.safetensors", value):
        raise _refusal("the name of the weight file", "a plain NAME.safetensors, in no other folder", value)
    return value


def _is_number(value: Any) -> bool:
    # math.isfinite would raise for an integer that no float can hold.
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    )


CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "tag": _text,
    "input_size": _image_size,
    "min_input_size": _image_size,
    "fixed_input_size": _flag,
    "pool_size": _sizes,
    "interpolation": _text,
    "crop_pct": _crop_pct,
    "crop_mode": _text,
    "mean": _numbers,
    "std": _positive_numbers,
    "num_classes": _count,
    "label_names": _texts,
    "data": _text,
    "top1": _percent,
    "recipe": _text,
    "epochs": _count,
    "epochs_before": _count,
    "seed": _integer,
    "library_version": _text,
    "git_commit": _text,
    "license": _text,
    "paper_name": _text,
    "paper_ids": _text,
}
"""By field of ``PretrainedCfg``, the check that returns its value, or raises a ValueError that names it."""
