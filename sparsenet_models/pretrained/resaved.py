"""A config.json of ours that transformers has read and written again, beside weights of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def without_what_no_longer_holds(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the content of a config.json without what transformers copied although it no longer holds.

    That is what the file says of our weight file and its metrics, and the names of other classes than the
    net has now. A config.json that transformers did not write is returned unchanged.
    """
    if "transformers_version" not in config:
        return config
    current = {key: value for key, value in config.items() if key not in ("weights", "evidence")}
    names, inner = current.get("label_names"), current.get("pretrained_cfg")
    if isinstance(names, list) and len(names) != current.get("num_classes"):
        del current["label_names"]
        if isinstance(inner, dict):
            current["pretrained_cfg"] = {key: value for key, value in inner.items() if key != "label_names"}
    return current
