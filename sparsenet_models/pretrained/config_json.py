"""config.json of a model: its architecture, arguments and image configuration, in timm's format."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from .._version import __version__
from ..common.arguments import check_keywords, keywords_of
from ..common.messages import one_line
from ..models.feature_net import FeatureNet
from ..models.meta import building_on
from ..models.pretrained_cfg import TRAINING_KEYS, WEIGHTS, PretrainedCfg, pretrained_cfg_of
from ..models.registry import BuildModel, model_entrypoint, resolve
from .config_checks import checked_content, short_repr
from .misfits import misfits
from .resaved import without_what_no_longer_holds

CONFIG = "config.json"

MAX_BYTES = 16 * 2**20
MAX_PARAMETERS = 2**31
"""Limits of the file, and of the net that it describes."""

TIMM_FIELDS = (
    *("architecture", "tag", "input_size", "min_input_size", "fixed_input_size", "interpolation"),
    *("crop_pct", "crop_mode", "mean", "std", "num_classes", "label_names", "pool_size", "first_conv"),
    *("classifier", "license", "paper_name", "paper_ids"),
)
"""The fields of ``pretrained_cfg`` in the file; others are outside of it, as timm refuses them."""


@dataclass(frozen=True)
class ModelSource:
    """What the name of a model stands for: how to build the net, and the configuration of its weights."""

    entrypoint: BuildModel
    model_args: dict[str, Any]
    cfg: PretrainedCfg


def read_config(path: Path) -> ModelSource:
    """Read and check a config.json by ``save_pretrained`` or by timm.

    The file may come from anybody. So each value is checked, and the size of the net, before it is built.

    Raises:
        ValueError: the file is not such a configuration, or has a value that is refused; the message names
            the file.
        OSError: the file is missing or cannot be read.
    """
    config = read_object(path)
    with _refusal(f"{path} is refused"):
        return _checked(without_what_no_longer_holds(config))[0]


def check_is_readable(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Raise a ValueError if this content of the file would be refused, or ``weights`` by the net in it."""
    with _refusal(f"the model is not saved, as its {CONFIG} would be refused"):
        _, net = _checked(json.loads(json.dumps(config)))
    if problems := misfits(net.state_dict(), weights):
        raise ValueError(
            f"the model is not saved, as its weights do not fit the net that its {CONFIG} describes, which "
            f"create_model would build: {problems}"
        )


@contextmanager
def _refusal(start: str) -> Iterator[None]:
    """Raise what refuses a configuration as a ValueError of one line that begins with ``start``."""
    try:
        yield
    # torch raises RuntimeError and MemoryError for sizes that do not fit a machine.
    except (ValueError, TypeError, RuntimeError, MemoryError) as error:
        raise ValueError(f"{start}: {one_line(str(error), 300)}") from error


def config_of(
    model: nn.Module, weights_sha256: str, weights_size: int, with_evidence: bool
) -> dict[str, Any]:
    """Return the content of config.json for a net by ``create_model``.

    Args:
        model: the net.
        weights_sha256: sha256 of the weight file beside the configuration.
        weights_size: size of that file in bytes.
        with_evidence: whether the weights are those that the metrics of ``pretrained_cfg`` belong to.

    Raises:
        ValueError: the net was not built by ``create_model``, or has an argument that JSON cannot hold.
    """
    if isinstance(model, FeatureNet):
        raise ValueError(
            "a FeatureNet has no configuration of its own: save its state_dict, or the whole net before "
            "features_only"
        )
    cfg = pretrained_cfg_of(model)
    if not cfg.architecture or not hasattr(model, "model_args"):
        raise ValueError(
            f"the architecture of this {type(model).__name__} is unknown: build it with create_model(name), "
            "so that others can build it again"
        )
    fields = cfg.dict_for(model)
    config: dict[str, Any] = {
        "architecture": cfg.architecture,
        "num_classes": fields["num_classes"],
        "num_features": getattr(model, "num_features", None),
        # transformers' TimmWrapper reads the names here, and passes num_classes beside model_args.
        **({"label_names": fields["label_names"]} if fields.get("label_names") else {}),
        "model_args": _current_arguments(model, cfg.architecture),
        "pretrained_cfg": {key: fields[key] for key in TIMM_FIELDS if fields.get(key) is not None},
        "weights": {
            "file": WEIGHTS,
            "sha256": weights_sha256,
            "file_size": weights_size,
            "num_params": sum(parameter.numel() for parameter in model.parameters()),
        },
        "library": {"name": "sparsenet_models", "version": __version__},
    }
    if with_evidence:
        keys = ("top1", *TRAINING_KEYS)
        config["evidence"] = {key: fields[key] for key in keys if fields.get(key) is not None}
    return config


def _current_arguments(model: nn.Module, architecture: str) -> dict[str, Any]:
    """Return the arguments that build ``model`` again, with the head that it has now.

    Raises:
        ValueError: JSON cannot hold one of them.
    """
    accepted = keywords_of(model_entrypoint(architecture))
    arguments: dict[str, Any] = dict(model.model_args)  # type: ignore[arg-type]
    arguments.pop("num_classes", None)
    for key in ("in_chans", "global_pool"):
        if (accepted is None or key in accepted) and hasattr(model, key):
            arguments[key] = getattr(model, key)
    for key, value in arguments.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"the argument {key}={value!r} cannot be written to {CONFIG}; register a model that sets it "
                "(register_model) and build that one"
            ) from error
    return arguments


def read_object(path: Path) -> dict[str, Any]:
    """Return the object in a config.json.

    Raises:
        FileNotFoundError: there is no such file, or it is a pipe or a device.
        ValueError: it is too large, or holds no JSON object.
        OSError: it cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"configuration file not found: {path} (the folder is neither a saved model nor a finished run)"
        )
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{path} is not a model configuration: it has {size:,} bytes")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    # RecursionError: brackets that are nested too deeply.
    except (ValueError, RecursionError) as error:
        reason = one_line(str(error).partition(";")[0])
        raise ValueError(f"{path} ({size:,} bytes) is not readable JSON: {reason}") from error
    if not isinstance(config, dict):
        raise ValueError(
            f"{path} is not a model configuration: it holds {type(config).__name__}, not an object"
        )
    return config


def _checked(config: Mapping[str, Any]) -> tuple[ModelSource, nn.Module]:
    """Return what a configuration describes, and its net on the meta device."""
    architecture = config.get("architecture")
    if not isinstance(architecture, str):
        raise ValueError(f"architecture must be a name, got {short_repr(architecture)}")
    entrypoint, default = resolve(architecture)
    arguments, cfg = checked_content(config, default)
    check_keywords(cfg.architecture, entrypoint, arguments)
    classes = {} if cfg.num_classes is None else {"num_classes": cfg.num_classes}
    size = cfg.input_size
    channels = {} if size is None or size[0] == 3 else {"in_chans": size[0]}
    net = check_parameters(entrypoint, {**classes, **channels, **arguments})
    return ModelSource(entrypoint, arguments, cfg), net


def check_parameters(entrypoint: Callable[..., nn.Module], arguments: Mapping[str, Any]) -> nn.Module:
    """Return a net on the meta device, which takes no memory.

    Raises:
        ValueError: it has more than ``MAX_PARAMETERS``.
    """
    with building_on("meta"):
        model = entrypoint(**arguments)
    count = sum(parameter.numel() for parameter in model.parameters())
    if count > MAX_PARAMETERS:
        raise ValueError(f"it asks for {count:,} parameters; at most {MAX_PARAMETERS:,} are allowed")
    return model
