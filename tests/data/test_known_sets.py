"""Tiny ImageNet and Imagenette: their layouts, and their downloads from a server on this machine."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from PIL import Image
from support.elsewhere import Elsewhere
from torchvision.datasets import Imagenette

from sparsenet_models.data import downloads, load_image_set
from sparsenet_models.data.datasets import split_for

CONFIG = dict(
    input_size=(3, 64, 64),
    interpolation="bicubic",
    crop_pct=1.0,
    crop_mode="center",
    mean=(0.5,) * 3,
    std=(0.2,) * 3,
)
CLASSES = {"n02124075": "Egyptian cat", "n01443537": "goldfish, Carassius auratus", "n07747607": "orange"}
SHADES = {"n01443537": 40, "n02124075": 120, "n07747607": 220}


def picture(shade: int, file: Path, side: int = 64) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if shade == 220 else "RGB", (side, side), (shade if shade == 220 else (shade,) * 3)).save(
        file
    )


@pytest.fixture(autouse=True)
def proxies_of_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request._opener", None)  # it keeps the proxies of the first download
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(scope="module")
def tiny_imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes in the layout of the archive: two training images each, and four to test on."""
    folder = tmp_path_factory.mktemp("home") / "tiny-imagenet-200"
    for number, shade in SHADES.items():
        for index in range(2):
            picture(shade, folder / "train" / number / "images" / f"{number}_{index}.JPEG")
        (folder / "train" / number / f"{number}_boxes.txt").write_text(f"{number}_0.JPEG\t0\t0\t63\t63\n")
    labels = ("n07747607", "n02124075", "n01443537", "n02124075")
    for index, number in enumerate(labels):
        picture(SHADES[number], folder / "val" / "images" / f"val_{index}.JPEG")
    (folder / "val" / "val_annotations.txt").write_text(
        "".join(f"val_{index}.JPEG\t{number}\t0\t0\t63\t63\n" for index, number in enumerate(labels))
    )
    picture(7, folder / "test" / "images" / "test_0.JPEG")
    (folder / "wnids.txt").write_text("\n".join(CLASSES))
    (folder / "words.txt").write_text(
        "n00001740\tentity\n" + "".join(f"{n}\t{w}\n" for n, w in CLASSES.items())
    )
    return folder


@contextmanager
def served(folder: Path, fetched: list[str] | None = None) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if fetched is not None:
                fetched.append(self.path)
            super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def visible(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if not path.name.startswith(".")]


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("loader", ["memory", "stream"])
def test_tiny_imagenet_is_read_in_its_own_layout_with_classes_in_words_by_wordnet_number(
    tiny_imagenet, loader
):
    train, test = (load_image_set(tiny_imagenet, split, CONFIG, loader) for split in ("train", "test"))
    assert train.class_names == test.class_names == ("goldfish", "Egyptian cat", "orange")
    assert train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert test.labels.tolist() == [2, 1, 0, 1]
    images = torch.cat(list(test.batches([torch.arange(4)])))
    assert images.shape == (4, 3, 64, 64)
    assert images[:, 0, 0, 0].tolist() == [220, 120, 40, 120]
    assert test.name == "tiny-imagenet"


def test_no_epoch_is_chosen_on_the_test_images_of_tiny_imagenet(tiny_imagenet):
    assert split_for(tiny_imagenet, "test")
    assert split_for(tiny_imagenet, "validation") is None


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "words.txt",
            "n01443537\tgoldfish\n",
            r"words\.txt has no line for the class n02124075 of .*wnids\.txt",
        ),
        ("words.txt", "n01443537\tgoldfish\nn02124075\n", r"words\.txt, line 2: two columns .* 'n02124075'"),
        (
            "val/val_annotations.txt",
            "val_0.JPEG\tn99\t0\t0\t1\t1\n",
            r"val_0\.JPEG in the class n99, which wnids",
        ),
    ],
)
def test_a_text_file_of_tiny_imagenet_that_is_damaged_is_named(tiny_imagenet, tmp_path, file, text, message):
    folder = shutil.copytree(tiny_imagenet, tmp_path / "copy")
    (folder / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        load_image_set(folder, "test", CONFIG)


def test_tiny_imagenet_is_downloaded_once_and_checked(tiny_imagenet, tmp_path, monkeypatch):
    archive = Path(shutil.make_archive(str(tmp_path / "tiny-imagenet-200"), "zip", tiny_imagenet.parent))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with served(tmp_path) as address:
        place = f"{address}/{archive.name}"
        monkeypatch.setattr(downloads, "TINY_IMAGENET", (place, "0" * 32))
        with pytest.raises(
            OSError, match=r"tiny-imagenet could not be downloaded into .*corrupted.*give a folder"
        ):
            load_image_set("tiny-imagenet", "test", CONFIG)
        cache = tmp_path / "home" / ".cache" / "sparsenet_models"
        assert visible(cache) == []
        monkeypatch.setattr(downloads, "TINY_IMAGENET", (place, md5(archive)))
        image_set = load_image_set("tiny-imagenet", "test", CONFIG)
    assert image_set.labels.tolist() == [2, 1, 0, 1]
    assert image_set.name == "tiny-imagenet"
    assert visible(cache) == ["tiny-imagenet-200"]
    assert len(load_image_set("tiny-imagenet", "train", CONFIG)) == 6  # the server is gone


def test_processes_that_need_a_set_at_once_download_it_once(tiny_imagenet, tmp_path):
    archive = Path(shutil.make_archive(str(tmp_path / "tiny-imagenet-200"), "zip", tiny_imagenet.parent))
    fetched: list[str] = []

    def requests_of(count: int, home: Path) -> int:
        fetched.clear()
        processes = [Elsewhere(code, {"HOME": str(home), "XDG_CACHE_HOME": ""}) for _ in range(count)]
        folders = {process.answer().value() for process in processes}
        assert folders == {str(home / ".cache" / "sparsenet_models" / "tiny-imagenet-200")}
        return len(fetched)

    with served(tmp_path, fetched) as address:
        code = (
            "from sparsenet_models.data import downloads\n"
            f"downloads.TINY_IMAGENET = {(f'{address}/{archive.name}', md5(archive))!r}\n"
            "result = str(downloads.downloaded_tiny_imagenet())"
        )
        assert requests_of(3, tmp_path / "three") == requests_of(1, tmp_path / "one") > 0


def test_imagenette_is_downloaded_as_torchvision_has_it_with_its_classes_in_words(tmp_path, monkeypatch):
    folder = tmp_path / "imagenette2-320"
    for split, count in (("train", 2), ("val", 1)):
        for shade, number in enumerate(Imagenette._WNID_TO_CLASS):
            for index in range(count):
                picture(shade, folder / split / number / f"{number}_{index}.JPEG")
    archive = tmp_path / "imagenette2-320.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with served(tmp_path) as address:
        place = (f"{address}/{archive.name}", md5(archive))
        monkeypatch.setattr(Imagenette, "_ARCHIVES", Imagenette._ARCHIVES | {"320px": place})
        train = load_image_set("imagenette", "train", CONFIG)
    test = load_image_set("imagenette", "test", CONFIG)
    assert train.class_names == test.class_names
    assert train.class_names[:3] == ("tench", "English springer", "cassette player")
    assert (len(train), test.labels.tolist()) == (20, list(range(10)))
    assert visible(tmp_path / "cache" / "sparsenet_models") == [folder.name]


@pytest.mark.parametrize("name", ["tiny-imagenet", "imagenette", "cifar100"])
def test_a_set_whose_home_cannot_be_reached_is_told_by_name(tmp_path, monkeypatch, name):
    for proxy in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(
        OSError, match=f"^{name} could not be downloaded into {tmp_path}.*; give a folder instead"
    ):
        load_image_set(name, "train", CONFIG)
    assert not list((tmp_path / ".cache" / "sparsenet_models").glob("*imagenet*"))
