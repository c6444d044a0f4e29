"""What importing and using the package drags in, and what it offers at its top."""

import ast
import importlib
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from support.repository import REPOSITORY

import sparsenet_models
from sparsenet_models.models.registry import library_architectures

PUBLIC = [
    "DenseNet",
    "FeatureNet",
    "FractalNet",
    "PretrainedCfg",
    "ResNet",
    "SparseNet",
    "StageGraph",
    "__version__",
    "create_model",
    "create_transform",
    "dense_aggregation_indices",
    "freeze",
    "get_pretrained_cfg",
    "is_model",
    "list_models",
    "list_pretrained",
    "load_checkpoint",
    "model_entrypoint",
    "optimize",
    "param_groups_layer_decay",
    "push_to_hub",
    "register_model",
    "register_model_deprecations",
    "resolve_data_config",
    "resolve_model_data_config",
    "save_pretrained",
    "sparse_aggregation_indices",
    "split_model_name_tag",
    "unfreeze",
]


def run(*arguments: str, folder: Path, first_on_path: Path | None = None) -> subprocess.CompletedProcess:
    """Run Python in an empty folder, with the package importable from its checkout."""
    path = [str(first_on_path)] * (first_on_path is not None) + [str(REPOSITORY)]
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )


LIST_MODULES = "sorted({name.partition('.')[0] for name in sys.modules})"

# torchvision is on the path and cannot be imported, as where it was built for another torch.
WITHOUT_TORCHVISION = f"""
import json, os, sys
import torch
torch_alone = set(sys.modules)
import sparsenet_models as s

net = s.create_model("sparsenet_bc_40_k12", num_classes=3)
s.list_models(); s.get_pretrained_cfg("sparsenet_40_k12.cifar100")
torch.save(net.state_dict(), "net.pt"); s.load_checkpoint(net, "net.pt")
answer = {{"classes": net.num_classes, "modules": {LIST_MODULES}, "errors": []}}
families = ("densenet", "fractalnet", "resnet", "sparsenet")
answer["families"] = [name for name in families if f"sparsenet_models.models.{{name}}" in sys.modules]
answer["compiler"] = sorted({{"torch._dynamo", "sympy"}} & (set(sys.modules) - torch_alone))
config = s.resolve_data_config(net)
for kind in ("RuntimeError", "ImportError"):
    os.environ["KIND"] = kind
    try:
        s.create_transform(**config)
    except ImportError as error:
        answer["errors"].append(str(error))
print(json.dumps(answer))
"""


@pytest.fixture(scope="module")
def without_torchvision(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("broken")
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text(
        "import builtins, os\nraise getattr(builtins, os.environ['KIND'])('operator torchvision::nms ...')\n"
    )
    return json.loads(run("-c", WITHOUT_TORCHVISION, folder=folder, first_on_path=folder).stdout)


def test_the_package_and_the_index_helper_import_no_torch(tmp_path):
    code = "import sparsenet_models as s; assert s.sparse_aggregation_indices(5) == (4, 3, 1)"
    code += "; assert s.dense_aggregation_indices(3) == (0, 1, 2); s.StageGraph; s.__version__"
    code += "; assert set(dir(s)) >= set(s.__all__)"
    code += f"; import json, sys; print(json.dumps({LIST_MODULES}))"
    modules = set(json.loads(run("-c", code, folder=tmp_path).stdout))
    assert "sparsenet_models" in modules
    assert not modules & {"torch", "numpy", "torchvision", "safetensors", "PIL", "huggingface_hub", "click"}


def test_listings_configurations_and_registering_import_no_torch(tmp_path):
    code = """
import sys
from click.testing import CliRunner
import sparsenet_models as s
from sparsenet_models.cli import main
from sparsenet_models.models.registry import temporary_registry

assert "sparsenet_bc_40_k12" in s.list_models() and "resnet_20" in s.list_models(module="resnet")
assert s.list_pretrained(as_table=True)[0]["top1"] > 50
assert s.get_pretrained_cfg("sparsenet_bc_40_k12.cifar100").num_classes == 100
assert s.is_model("sparsenet121") and not s.is_model("sparsenet122")
with temporary_registry():
    @s.register_model(pretrained_cfgs={"own": s.PretrainedCfg(num_classes=2)})
    def own_net(**kwargs): ...
    s.register_model_deprecations({"old_net": "own_net"})
    assert s.model_entrypoint("own_net") is own_net
for arguments in ([], ["*k24"], ["--pretrained"]):
    result = CliRunner().invoke(main, ["list", *arguments], catch_exceptions=False)
    assert result.exit_code == 0 and "sparsenet_" in result.output
print({"torch", "torchvision", "numpy", "PIL"} & set(sys.modules))
"""
    assert run("-c", code, folder=tmp_path).stdout == "set()\n"


def test_every_name_is_registered_whichever_module_is_imported_first(tmp_path):
    code = """
import importlib, sys

for first in ("", ".registry", ".listing", ".names", ".families", ".entrypoints", ".pretrained_cfg"):
    for loaded in [name for name in sys.modules if name.partition(".")[0] == "sparsenet_models"]:
        del sys.modules[loaded]
    importlib.import_module(f"sparsenet_models.models{first}")
    from sparsenet_models import list_models

    print(len(list_models()), len(list_models(pretrained=True)))
"""
    expected = f"{len(library_architectures())} {len(sparsenet_models.list_pretrained())}\n"
    assert run("-c", code, folder=tmp_path).stdout == 7 * expected


def test_create_model_imports_torch_and_none_of_the_other_heavy_libraries(without_torchvision):
    modules = set(without_torchvision["modules"])
    assert {"torch", "sparsenet_models"} <= modules
    assert not modules & {"torchvision", "datasets", "matplotlib", "rich", "timm", "PIL", "click"}


def test_building_a_net_imports_its_own_family_alone(without_torchvision):
    assert without_torchvision["families"] == ["sparsenet"]


@pytest.mark.skipif(version("torch").startswith("2.4."), reason="torch 2.4 imports its compiler by itself")
def test_a_net_is_built_and_loaded_without_torchs_compiler(without_torchvision):
    assert without_torchvision["compiler"] == []


@pytest.mark.parametrize("arguments", [["--help"], ["predict", "--help"], ["train", "--help"], ["--version"]])
def test_the_help_of_the_command_line_imports_no_torch(tmp_path, arguments):
    result = run("-X", "importtime", "-m", "sparsenet_models", *arguments, folder=tmp_path)
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "click" in imported  # the list of imports is really there
    assert not imported & {"torch", "torchvision", "numpy", "PIL"}
    assert sparsenet_models.__version__ in result.stdout or "Usage: " in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "gone.jpg"], "image not found: gone.jpg"),
        (["validate", "sparsenet_bc_40_k12", "--data", "gone"], "data folder not found: gone"),
        (
            ["train", "sparsenet_bc_40_k12", "--data", "cifar01"],
            "data folder not found: cifar01; did you mean",
        ),
        (["train", "sparsenet_bc_40_k12", "--data", "cifar10", "--lr", "-1"], "lr must be at least 0"),
        (["analyze", "sparsenet_bc_40_k13"], "unknown rule or model 'sparsenet_bc_40_k13'; did you mean"),
    ],
)
def test_a_slip_on_the_command_line_is_reported_before_torch_is_imported(arguments, message):
    code = f"import sys; from sparsenet_models.cli import main; sys.argv[1:] = {arguments}\n"
    code += "try: main()\nfinally: assert 'torch' not in sys.modules"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    assert result.returncode == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_all_is_every_public_name():
    assert sorted(sparsenet_models.__all__) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_offered_name_resolves_to_the_object_of_that_name(name):
    value = getattr(sparsenet_models, name)
    if name == "__version__":
        assert value.split(".")[0].isdigit()
    else:
        assert value.__name__ == name
        assert value.__module__.startswith("sparsenet_models.")


def test_dir_lists_the_public_names():
    assert set(dir(sparsenet_models)) >= set(PUBLIC)
    assert dir(sparsenet_models) == sorted(dir(sparsenet_models))


def test_a_star_import_brings_every_public_name():
    namespace = {}
    exec("from sparsenet_models import *", namespace)
    assert namespace.keys() >= set(PUBLIC)


@pytest.mark.parametrize("name", ["create_modle", "torch", "_entrypoints"])
def test_an_unknown_attribute_is_an_attribute_error_that_names_it(name):
    with pytest.raises(AttributeError, match=rf"'sparsenet_models' has no attribute '{name}'"):
        getattr(sparsenet_models, name)
    assert not hasattr(sparsenet_models, name)


def test_type_checkers_see_the_names_that_are_resolved_lazily():
    tree = ast.parse(Path(sparsenet_models.__file__).read_text(encoding="utf-8"))
    declared = {
        alias.asname: (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
        if alias.asname is not None
    }
    assert declared.keys() == set(PUBLIC)
    for public, (module, name) in declared.items():
        home = importlib.import_module(f"sparsenet_models.{module}")
        assert getattr(home, name) is getattr(sparsenet_models, public)


def test_without_a_working_torchvision_only_transforms_fail_and_say_what_to_install(without_torchvision):
    assert without_torchvision["classes"] == 3
    assert len(without_torchvision["errors"]) == 2
    for message in without_torchvision["errors"]:
        assert "need torchvision" in message
        assert "operator torchvision::nms" in message
        assert "pip install torchvision" in message
