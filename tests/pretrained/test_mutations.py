"""Weight files and configurations, damaged at random: refused in one line, or loaded as they say.

A file that loads is compared with what a second, independent reading of its bytes says. None may crash, hang
or change a single byte of the net that it is refused for.
"""

from __future__ import annotations

import copy
import json
import shutil
import string
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from support.nets import scrambled
from support.reliability import record
from torch import nn

from sparsenet_models import SparseNet, create_model, load_checkpoint, save_pretrained

FEW, MANY = 15, 400
LONGEST = 10.0
"""CPU seconds for one file; most take milliseconds."""

NAME = "sparsenet_bc_40_k12"


def small_net() -> SparseNet:
    return SparseNet(depth=7, growth_rate=2)


WHOLE = save(scrambled(small_net()).state_dict(), metadata={"format": "pt", "top1": "91.00"})
HEADER_END = 8 + int.from_bytes(WHOLE[:8], "little")
HEADER: dict[str, Any] = json.loads(WHOLE[8:HEADER_END])
BODY = WHOLE[HEADER_END:]
TENSORS = [name for name in HEADER if name != "__metadata__"]


def with_header(header: object) -> bytes:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + BODY


# The mutations

INTEGERS = st.one_of(
    st.integers(0, len(BODY) + 8),
    st.sampled_from([-1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**40]),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    INTEGERS,
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["../x", "\0", "40"]),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)


def header_bytes(data: st.DataObject) -> bytes:
    content = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, HEADER_END - 1))] = data.draw(st.integers(0, 255))
    return bytes(content)


def offsets(data: st.DataObject) -> bytes:
    header = copy.deepcopy(HEADER)
    one, other = data.draw(st.sampled_from(TENSORS)), data.draw(st.sampled_from(TENSORS))
    if data.draw(st.booleans()):
        entries = header[one], header[other]
        entries[0]["data_offsets"], entries[1]["data_offsets"] = (
            entries[1]["data_offsets"],
            entries[0]["data_offsets"],
        )
    else:
        header[one]["data_offsets"] = data.draw(
            st.lists(INTEGERS, max_size=3) | st.tuples(INTEGERS, INTEGERS) | JSON
        )
    return with_header(header)


DTYPES = st.sampled_from(
    "BOOL U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F4 F6_E2M3 I16 U16 F16 BF16 I32 U32 F32 C64 F64 I64 U64".split()
)


def shapes_and_dtypes(data: st.DataObject) -> bytes:
    header = copy.deepcopy(HEADER)
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(TENSORS))
        entry = header[name]
        if data.draw(st.booleans()):
            entry["dtype"] = data.draw(DTYPES | st.text(max_size=6) | JSON)
        elif data.draw(st.booleans()):
            entry["shape"] = data.draw(st.permutations(HEADER[name]["shape"]))
        else:
            entry["shape"] = data.draw(st.lists(INTEGERS, max_size=6) | JSON)
    return with_header(header)


def truncations(data: st.DataObject) -> bytes:
    start, end = data.draw(st.integers(0, len(WHOLE))), data.draw(st.integers(0, len(WHOLE)))
    way = data.draw(st.sampled_from(["end", "start", "middle", "longer"]))
    if way == "end":
        return WHOLE[:end]
    if way == "start":
        return WHOLE[start:]
    if way == "middle":
        return WHOLE[: min(start, end)] + WHOLE[max(start, end) :]
    return WHOLE + data.draw(st.binary(min_size=1, max_size=64))


PYTORCHCVS_NAMES = {"features.init_block.conv.weight": "stem.conv.weight"}
"""Odd in a file of ours, and yet read: other layouts are."""

ODD_NAMES = st.one_of(
    st.text(max_size=20),
    st.text(string.ascii_letters + string.digits + "._-", max_size=40),
    st.sampled_from(TENSORS).map("module.{}".format),
    st.sampled_from(TENSORS).map("_orig_mod.{}".format),
    st.sampled_from(
        [
            "n_averaged",
            "features.norm_last.weight",
            *PYTORCHCVS_NAMES,
            "features.dense-stage-99999999999999999999.block-0.bn1.weight",
            "../../etc/passwd",
            "__class__",
            "",
            "\0",
            "x" * 70_000,
        ]
    ),
)


def names(data: st.DataObject) -> bytes:
    header = copy.deepcopy(HEADER)
    way = data.draw(st.sampled_from(["rename", "swap", "remove", "prefix"]))
    one, other = data.draw(st.sampled_from(TENSORS)), data.draw(st.sampled_from(TENSORS))
    if way == "rename":
        header[data.draw(ODD_NAMES)] = header.pop(one)
    elif way == "swap":
        header[one], header[other] = header[other], header[one]
    elif way == "remove":
        del header[one]
    else:
        prefix = data.draw(st.sampled_from(["module.", "_orig_mod.", "module._orig_mod.", "net."]))
        header = {name if name == "__metadata__" else prefix + name: entry for name, entry in header.items()}
    return with_header(header)


WEIGHT_KINDS: dict[str, Callable[[st.DataObject], bytes]] = {
    "header bytes": header_bytes,
    "offsets": offsets,
    "shapes and dtypes": shapes_and_dtypes,
    "truncations": truncations,
    "names": names,
}

NUMPY = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
}


def read_by_hand(content: bytes) -> dict[str, torch.Tensor]:
    """Read a safetensors file after its specification, with nothing of the library's."""
    end = 8 + int.from_bytes(content[:8], "little")
    found = {}
    for name, entry in json.loads(content[8:end]).items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        raw = content[end + first : end + last]
        if entry["dtype"] == "BF16":
            tensor = torch.frombuffer(bytearray(raw), dtype=torch.bfloat16).reshape(entry["shape"])
        else:
            tensor = torch.from_numpy(np.frombuffer(raw, NUMPY[entry["dtype"]]).copy()).reshape(
                entry["shape"]
            )
        while name.startswith(("module.", "_orig_mod.", "net.")):
            name = name.partition(".")[2]
        found[PYTORCHCVS_NAMES.get(name, name)] = tensor
    return found


def tensors_of(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n].to(one[n].dtype)) for n in one)


def check_refusal(error: Exception, path: Path) -> None:
    assert isinstance(error, (ValueError, OSError))
    assert str(path) in str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < 2000


def explore(check: Callable[[st.DataObject], bool], kind: str, count: int) -> Counter[str]:
    """Run ``check`` on ``count`` mutations and more; return how many were loaded and how many refused."""
    tally: Counter[str] = Counter()
    slowest = [0.0]

    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def one(data: st.DataObject) -> None:
        start = time.process_time()
        loaded = check(data)
        slowest[0] = max(slowest[0], time.process_time() - start)
        assert slowest[0] < LONGEST
        tally["loaded" if loaded else "refused"] += 1

    one()
    record(kind=kind, tried=tally.total(), refused=tally["refused"], loaded=tally["loaded"])
    print(
        f"{kind}: {tally.total()} tried, {tally['refused']} refused, {tally['loaded']} loaded, "
        f"slowest {slowest[0]:.2f} s"
    )
    return tally


def explore_weights(kind: str, count: int, folder: Path) -> Counter[str]:
    net, path = small_net(), folder / "weights"
    fresh = tensors_of(net)

    def check(data: st.DataObject) -> bool:
        content = WEIGHT_KINDS[kind](data)
        assume(content not in (WHOLE, with_header(HEADER)))
        path.write_bytes(content)
        try:
            load_checkpoint(net, path)
        except (ValueError, OSError) as error:
            check_refusal(error, path)
            assert same(tensors_of(net), fresh)
            return False
        assert same(tensors_of(net), read_by_hand(content))
        net.load_state_dict(fresh)
        return True

    return explore(check, kind, count)


def mutated_config(config: dict, data: st.DataObject) -> bytes:
    if data.draw(st.integers(0, 4)) == 0:
        content = bytearray(json.dumps(config).encode())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        return bytes(content)
    changed = copy.deepcopy(config)
    for _ in range(data.draw(st.integers(1, 2))):
        place: Any = changed
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = data.draw(st.sampled_from(keys))
            deeper = isinstance(place[key], (dict, list)) and len(place[key]) > 0
            if not deeper or data.draw(st.integers(0, 3)) == 0:
                break
            place = place[key]
        way = data.draw(st.sampled_from(["replace", "remove", "argument"]))
        if way == "replace":
            place[key] = data.draw(JSON)
        elif way == "remove":
            del place[key]
        else:
            word = data.draw(st.sampled_from(ARGUMENTS) | st.text(max_size=10))
            arguments = changed.setdefault("model_args", {})
            if isinstance(arguments, dict):
                arguments[word] = data.draw(JSON)
        if not changed:
            break
    return json.dumps(changed).encode()


ARGUMENTS = (
    *("depth", "layers", "growth_rate", "bottleneck", "aggregation", "base", "merge", "compression", "stem"),
    *("stem_channels", "num_classes", "in_chans", "global_pool", "drop_rate", "proj_drop_rate", "device"),
    *("pretrained", "checkpoint_path", "dtype", "columns", "self", "__init__"),
)


def explore_configs(count: int, folder: Path) -> Counter[str]:
    source = scrambled(create_model(NAME))
    save_pretrained(source, folder)
    stored = tensors_of(source)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))

    def check(data: st.DataObject) -> bool:
        content = mutated_config(config, data)
        assume(content != json.dumps(config).encode())
        (folder / "config.json").write_bytes(content)
        try:
            net = create_model(f"local-dir:{folder}", pretrained=True)
        except (ValueError, OSError) as error:
            check_refusal(error, folder)
            return False
        assert same(tensors_of(net), stored)
        return True

    tally = explore(check, "configs", count)
    shutil.rmtree(folder)
    return tally


@pytest.mark.parametrize("kind", WEIGHT_KINDS)
def test_a_few_damaged_weight_files_of_each_kind_are_refused_or_loaded_as_they_say(tmp_path, kind):
    assert explore_weights(kind, FEW, tmp_path).total() >= FEW


def test_a_few_damaged_configurations_are_refused_or_loaded(tmp_path):
    assert explore_configs(FEW, tmp_path / "net").total() >= FEW


@pytest.mark.slow
@pytest.mark.parametrize("kind", WEIGHT_KINDS)
def test_hundreds_of_damaged_weight_files_are_refused_or_loaded_as_they_say(tmp_path, kind):
    tally = explore_weights(kind, MANY, tmp_path)
    assert tally.total() >= 300
    assert tally["refused"] > 0


@pytest.mark.slow
def test_hundreds_of_damaged_configurations_are_refused_or_loaded(tmp_path):
    tally = explore_configs(MANY, tmp_path / "net")
    assert tally.total() >= 300
    assert min(tally["refused"], tally["loaded"]) > 0
