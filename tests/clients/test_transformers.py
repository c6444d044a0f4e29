"""transformers reads, trains and writes the folders of ``save_pretrained``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from support.nets import images
from support.repository import REPOSITORY

from sparsenet_models import create_model, load_checkpoint, save_pretrained

# The filter is for transformers' own warnings and those of what it imports.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

HORSES = str(REPOSITORY / "examples/photos/horse_herd.jpg")


@pytest.fixture
def transformers():
    pytest.importorskip("timm")
    from sparsenet_models.integrations.timm import register

    register()
    return pytest.importorskip("transformers")


@pytest.fixture
def saved(tmp_path):
    """Return a net and the folder that it was saved in."""
    net = create_model("sparsenet_bc_40_k12", pretrained=True).eval()
    save_pretrained(net, tmp_path / "saved")
    return net, str(tmp_path / "saved")


@torch.no_grad()
def test_the_auto_class_and_the_wrapper_compute_what_the_net_computes(transformers, saved):
    net, folder = saved
    classifier = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    assert torch.allclose(classifier(images()).logits, net(images()), atol=1e-5)
    assert tuple(classifier.config.id2label.values()) == net.pretrained_cfg["label_names"]
    wrapper = transformers.TimmWrapperModel.from_pretrained(folder).eval()
    last = wrapper(images()).last_hidden_state
    assert torch.allclose(last, net.forward_features(images()), atol=1e-5)


def test_the_pipeline_answers_with_class_names_on_images_as_the_net_wants_them(transformers, saved):
    net, folder = saved
    answers = transformers.pipeline("image-classification", model=folder)(HORSES)
    assert answers[0]["label"] == "horse"
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    with Image.open(HORSES) as photo:
        batch = processor(photo, return_tensors="pt")["pixel_values"]
    assert batch.shape == (1, 3, 32, 32)
    probability = net(batch).softmax(dim=1)[0, 7].item()
    assert answers[0]["score"] == pytest.approx(probability, abs=1e-4)


def test_a_folder_that_transformers_wrote_again_loads_here_and_there(transformers, saved, tmp_path):
    net, folder = saved
    again = str(tmp_path / "again")
    transformers.AutoModelForImageClassification.from_pretrained(folder).save_pretrained(again)
    ours = create_model(f"local-dir:{again}", pretrained=True).eval()
    assert torch.equal(ours(images()), net(images()))
    assert ours.pretrained_cfg["label_names"] == net.pretrained_cfg["label_names"]
    bare = create_model("sparsenet_bc_40_k12").eval()
    load_checkpoint(bare, Path(again) / "model.safetensors")
    assert torch.equal(bare(images()), net(images()))
    theirs = transformers.AutoModelForImageClassification.from_pretrained(again).eval()
    assert torch.allclose(theirs(images()).logits, net(images()), atol=1e-5)


def test_one_epoch_of_the_trainer_learns_two_new_classes_which_load_here(
    transformers, saved, colour_folder, tmp_path
):
    pytest.importorskip("accelerate")
    _, folder = saved
    names = ["blue", "red"]
    net = transformers.AutoModelForImageClassification.from_pretrained(
        folder,
        num_labels=2,
        id2label=dict(enumerate(names)),
        label_names=names,
        ignore_mismatched_sizes=True,
    )
    processor = transformers.AutoImageProcessor.from_pretrained(folder)

    def examples(split):
        files = [
            (label, file)
            for label, name in enumerate(names)
            for file in (colour_folder / split / name).iterdir()
        ]
        return [
            {"labels": label, "pixel_values": processor(Image.open(file))["pixel_values"][0]}
            for label, file in files
        ]

    def accuracy(prediction):
        return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}

    trainer = transformers.Trainer(
        net,
        transformers.TrainingArguments(
            output_dir=str(tmp_path / "run"),
            num_train_epochs=1,
            per_device_train_batch_size=8,
            learning_rate=3e-3,
            report_to=[],
            use_cpu=True,
            seed=0,
        ),
        train_dataset=examples("train"),
        eval_dataset=examples("test"),
        compute_metrics=accuracy,
    )
    trainer.train()
    assert trainer.evaluate()["eval_accuracy"] >= 0.95
    trainer.save_model(str(tmp_path / "tuned"))
    assert json.loads((tmp_path / "tuned/config.json").read_text())["label_names"] == names
    ours = create_model(f"local-dir:{tmp_path / 'tuned'}", pretrained=True).eval()
    assert ours.pretrained_cfg["label_names"] == ("blue", "red")
    batch = torch.stack([example["pixel_values"] for example in examples("test")])
    with torch.no_grad():
        assert torch.allclose(ours(batch), net.eval()(batch).logits, atol=1e-5)
