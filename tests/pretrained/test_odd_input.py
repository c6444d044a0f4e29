"""Damaged and unusual files and registrations that were accepted once."""

import io
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file
from support.elsewhere import run

import sparsenet_models as s
from sparsenet_models import PretrainedCfg, SparseNet, create_model, load_checkpoint, register_model
from sparsenet_models.data.pictures import open_image, to_channels
from sparsenet_models.models.registry import temporary_registry

STEM = "stem.conv.weight"


def small_net(**kwargs):
    return SparseNet(**{"depth": 7, "growth_rate": 2, **kwargs})


def torch_bytes(**options) -> bytes:
    buffer = io.BytesIO()
    torch.save(small_net().state_dict(), buffer, **options)
    return buffer.getvalue()


ZIP, OLD = torch_bytes(), torch_bytes(_use_new_zipfile_serialization=False)


def refused(path: Path) -> str:
    net = small_net()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises((ValueError, OSError)) as caught:
        load_checkpoint(net, path)
    assert str(path) in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    return str(caught.value)


@pytest.fixture(autouse=True)
def _registry_kept():
    with temporary_registry():
        yield


@pytest.mark.parametrize("whole", [ZIP, OLD], ids=["zip", "old"])
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_torch_file_truncated_anywhere_is_refused(tmp_path_factory, whole, data):
    path = tmp_path_factory.mktemp("cut") / "weights.pt"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    refused(path)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_torch_file_with_one_changed_byte_loads_or_is_refused_by_name(tmp_path_factory, data):
    whole = data.draw(st.sampled_from([ZIP, OLD]))
    index = data.draw(st.integers(0, min(len(whole), 4000) - 1))
    path = tmp_path_factory.mktemp("cut") / "weights.pt"
    path.write_bytes(whole[:index] + bytes([data.draw(st.integers(0, 255))]) + whole[index + 1 :])
    message = str(path)
    try:
        load_checkpoint(small_net(), path)
    except (ValueError, OSError) as error:
        message = str(error)
    assert str(path) in message


@pytest.mark.parametrize("content", [ZIP, b"PK\x05\x06" + bytes(18)])
def test_a_torch_file_may_be_called_safetensors(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    if content is ZIP:
        load_checkpoint(small_net(), path)
    else:
        refused(path)


@pytest.mark.parametrize("protocol", [3, 4])
def test_a_pickle_of_any_protocol_is_refused_without_a_warning(tmp_path, protocol):
    (tmp_path / "a.pt").write_bytes(pickle.dumps({"a": 1}, protocol=protocol))
    refused(tmp_path / "a.pt")


def odd_states():
    state = small_net().state_dict()
    yield "meta", {name: tensor.to("meta") for name, tensor in state.items()}
    yield "sparse", {**state, STEM: state[STEM].to_sparse()}
    yield "complex", {**state, "norm.num_batches_tracked": torch.tensor(1 + 2j)}
    yield "overflow", {**state, STEM: torch.full_like(state[STEM], 1e300, dtype=torch.float64)}


@pytest.mark.parametrize("kind", ["meta", "sparse", "complex", "overflow"])
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_cannot_be_loaded_are_refused(tmp_path, kind):
    torch.save(dict(odd_states())[kind], tmp_path / "a.pt")
    refused(tmp_path / "a.pt")


def test_a_refused_pickle_gives_no_advice_to_switch_the_safety_off(tmp_path):
    torch.save(small_net(), tmp_path / "net.pt")
    message = refused(tmp_path / "net.pt")
    assert "\x1b" not in message
    assert "can still be loaded" not in message


SHORT_OF_MEMORY = """
import resource
from pathlib import Path
from sparsenet_models.common.messages import is_out_of_memory
from sparsenet_models.data.pictures import open_image
from sparsenet_models.pretrained.weight_file import read_weights
from sparsenet_models.training.run_folder import load_checkpoint_state

folder = Path({folder!r})
open_image(folder / "small.png")
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 32 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
result = []
for read, name in (
    (lambda path: load_checkpoint_state(path.parent), "checkpoint.pt"),
    (read_weights, "checkpoint.pt"),
    (read_weights, "large.safetensors"),
    (open_image, "large.png"),
    (read_weights, "claims_more.pt"),
):
    try:
        read(folder / name)
    except Exception as error:
        result.append((name, is_out_of_memory(error), str(error)))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the size of a process is read from /proc")
def test_want_of_memory_is_not_told_as_damage(tmp_path):
    weights = {"x": torch.zeros(16 * 2**20)}
    torch.save({"config": {}, "metrics": [], "optimizer": {}, "model": weights}, tmp_path / "checkpoint.pt")
    save_file(weights, tmp_path / "large.safetensors")
    for name, side in (("small.png", 8), ("large.png", 8000)):
        Image.new("1", (side, side)).save(tmp_path / name)
    torch.save({"x": torch.zeros(70_000)}, tmp_path / "claims_more.pt", _use_new_zipfile_serialization=False)
    content = (tmp_path / "claims_more.pt").read_bytes()
    count = (70_000).to_bytes(4, "little")
    (tmp_path / "claims_more.pt").write_bytes(content.replace(count, (2**31 - 1).to_bytes(4, "little")))

    *short, damaged = run(SHORT_OF_MEMORY.format(folder=str(tmp_path)), {}).value()
    assert [name for name, is_short, _ in short if is_short] == [
        "checkpoint.pt",
        "checkpoint.pt",
        "large.safetensors",
        "large.png",
    ]
    assert not any("damaged" in message or "truncated" in message for *_, message in short)
    assert "claims_more.pt (280," in damaged[2]
    assert "it is damaged" in damaged[2]


def test_a_taken_name_is_refused_before_the_library_has_registered_its_own(tmp_path):
    code = """
import sparsenet_models as s
from sparsenet_models import register_model
refused = False
def sparsenet_bc_40_k12(**kwargs): return s.SparseNet(depth=7, growth_rate=2, **kwargs)
try: register_model(sparsenet_bc_40_k12)
except ValueError: refused = True
assert s.list_models("sparsenet_bc_40_k12")
assert refused
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_cfg_without_architecture_and_tag_gets_those_it_is_registered_under():
    def a_net(**kwargs):
        return small_net(**kwargs)

    register_model(pretrained_cfgs={"mine": PretrainedCfg(num_classes=7)})(a_net)
    assert s.list_models("a_net", include_tags=True) == ["a_net.mine"]
    with pytest.raises(ValueError, match=r"'a_net\.mine' has no pretrained weights"):
        create_model("a_net.mine", pretrained=True)


def test_the_channels_of_a_cfg_are_those_of_the_net():
    def b_net(**kwargs):
        return small_net(**kwargs)

    cfg = PretrainedCfg("b_net", "m", input_size=(1, 28, 28), mean=(0.1,), std=(0.3,), num_classes=7)
    register_model(pretrained_cfgs={"m": cfg})(b_net)
    assert create_model("b_net").in_chans == 1


def test_overlaid_classes_drop_the_names_of_the_old_ones():
    net = create_model("sparsenet_bc_40_k12", pretrained_cfg_overlay=dict(num_classes=5), device="meta")
    assert net.pretrained_cfg["label_names"] is None


def test_a_file_without_head_loads_where_a_new_head_is_asked_for(tmp_path):
    def c_net(**kwargs):
        return small_net(**kwargs)

    register_model(c_net)
    save_file(small_net(num_classes=0).state_dict(), tmp_path / "backbone")
    assert create_model("c_net", num_classes=5, checkpoint_path=tmp_path / "backbone").num_classes == 5


def test_the_stem_of_integers_is_refused_whatever_the_channels(tmp_path):
    def d_net(**kwargs):
        return small_net(**kwargs)

    register_model(d_net)
    state = small_net().state_dict()
    torch.save({**state, STEM: state[STEM].long()}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="another kind of number"):
        create_model("d_net", in_chans=4, checkpoint_path=tmp_path / "a.pt")


def test_big_endian_sixteen_bit_grey_is_read():
    image = Image.frombytes("I;16B", (1, 1), b"\x80\x00")
    assert to_channels(image, 1).getpixel((0, 0)) == 128


def test_a_truncated_tiff_is_one_error_without_a_warning(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(
        tmp_path / "a.tif"
    )
    whole = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[:37])
    with pytest.raises(OSError, match=r"cut\.tif"):
        open_image(tmp_path / "cut.tif")


def test_an_oblong_input_size_is_filled_with_the_image():
    transform = s.create_transform((3, 32, 64), mean=(0, 0, 0), std=(1, 1, 1))
    assert transform(Image.new("RGB", (40, 40), "white")).min() == 1


@pytest.mark.parametrize("arguments", [dict(mean=(0, 0), std=(1, 1)), dict(input_size=(1, 32, 32))])
def test_statistics_of_another_number_of_channels_are_refused(arguments):
    defaults = dict(input_size=(3, 32, 32), mean=(0, 0, 0), std=(1, 1, 1))
    with pytest.raises(ValueError, match="mean"):
        s.create_transform(**{**defaults, **arguments})


def test_a_registered_net_without_cfg_has_no_silent_imagenet_normalisation():
    def e_net(**kwargs):
        return small_net(**kwargs)

    register_model(e_net)
    with pytest.raises(ValueError, match="pretrained_cfg"):
        s.resolve_data_config(create_model("e_net"))


def test_a_registered_nets_own_classifier_can_be_swapped(tmp_path):
    class OwnNet(torch.nn.Module):
        def __init__(self, num_classes=4):
            super().__init__()
            self.num_classes = num_classes
            self.conv1, self.fc = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, num_classes)

    def f_net(**kwargs):
        return OwnNet(**kwargs)

    torch.save(OwnNet(7).state_dict(), tmp_path / "a.pt")
    cfg = PretrainedCfg("f_net", "m", file=str(tmp_path / "a.pt"), first_conv="conv1", classifier="fc")
    register_model(pretrained_cfgs={"m": cfg})(f_net)
    assert create_model("f_net", pretrained=True, num_classes=5).fc.out_features == 5


@pytest.mark.parametrize("key", ["mean", "std", "crop_pct"])
def test_a_number_that_no_float_can_hold_is_refused(tmp_path, key):
    number = "1" + "0" * 400
    value = number if key == "crop_pct" else f"[{number}, 1, 1]"
    (tmp_path / "config.json").write_text(
        f'{{"architecture": "sparsenet_bc_40_k12", "pretrained_cfg": {{"{key}": {value}}}}}'
    )
    with pytest.raises(ValueError, match=rf"config\.json is refused: {key} must be a"):
        create_model(f"local-dir:{tmp_path}")


def test_a_file_whose_tensors_are_nothing_but_names_is_refused_before_they_are_read(tmp_path):
    tensor = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"{index:0>20000}": tensor for index in range(1000)}).encode()
    (tmp_path / "many.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(
        ValueError, match=r"many\.safetensors is no weight file: the names of its tensors take"
    ):
        load_checkpoint(small_net(), tmp_path / "many.safetensors")
