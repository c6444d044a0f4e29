"""`sparsenet predict` on folders."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
from support.command import run
from support.repository import REPOSITORY

from sparsenet_models import create_model
from sparsenet_models.data.class_folders import pictures_in, read_class_folders
from sparsenet_models.data.predict import predict

PHOTO = REPOSITORY / "examples" / "photos" / "cat_chelsea.jpg"
MODEL = "resnet_20.cifar10"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures at two depths, and what is no picture or hidden."""
    folder = tmp_path / "pictures"
    for name in ("b.jpg", "deep/a.jfif", ".hidden.jpg", ".cache/c.jpg", "._b.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PHOTO, folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_predict_classifies_every_picture_of_a_folder_and_names_what_is_left_out(folder, caplog):
    other = folder.parent / "other.jpg"
    shutil.copy(PHOTO, other)
    with caplog.at_level(logging.WARNING):
        result = run("predict", other, folder, "--json", "--model", MODEL)
    assert result.exit_code == 0, result.stderr
    images = [answer["image"] for answer in json.loads(result.stdout)]
    assert images == [str(other), str(folder / "b.jpg"), str(folder / "deep" / "a.jfif")]
    (line,) = caplog.messages
    assert line.startswith(f"{folder}: 2 images are read; left out as hidden or no pictures: ")
    assert "1 .txt" in line


def test_a_folder_to_predict_and_a_class_folder_are_read_by_the_same_rules(folder):
    assert tuple(pictures_in(folder)) == read_class_folders(folder.parent).paths


def test_one_path_in_place_of_a_list_is_refused():
    net = create_model("sparsenet_bc_40_k12.cifar10", pretrained=True)
    with pytest.raises(TypeError, match=r"images must be a list of paths, got 'cat\.jpg'"):
        next(predict(net, "cat.jpg"))


def test_a_folder_without_a_picture_is_one_error_and_the_others_are_answered(tmp_path, folder):
    empty = tmp_path / "empty"
    empty.mkdir()
    alone = run("predict", empty)
    assert (alone.exit_code, alone.stdout) == (1, "")
    assert alone.stderr == f"Error: {empty} holds no image\n"
    result = run("predict", empty, folder / "b.jpg", "--model", MODEL)
    assert result.exit_code == 1
    assert result.stdout.startswith(f"{folder / 'b.jpg'}: ")
    assert f"Error: {empty} holds no image\n" in result.stderr


def test_an_empty_folder_is_told_with_what_it_holds_instead(folder):
    for path in (folder / "b.jpg", folder / "deep" / "a.jfif"):
        path.unlink()
    with pytest.raises(ValueError, match=r"holds no image; left out as hidden or no pictures: .*1 \.txt"):
        pictures_in(folder)


def test_json_of_no_picture_is_an_empty_list(tmp_path):
    result = run("predict", tmp_path / "gone.jpg", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == []
