"""From image files of every kind to tensors, and the errors of files that are not images."""

import io
import math
import os
import struct
import zlib
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.optim.swa_utils import AveragedModel
from torchvision.transforms import v2

from sparsenet_models import (
    SparseNet,
    create_model,
    create_transform,
    get_pretrained_cfg,
    resolve_data_config,
    resolve_model_data_config,
)
from sparsenet_models.data.pictures import open_image, to_channels
from sparsenet_models.data.transforms import create_crop

PLAIN = dict(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
WHITE = (255, 255, 255)


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def pixels_of(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


def normalised(pixels: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    values = (pixels / 255 - np.array(mean)) / np.array(std)
    return torch.from_numpy(values).permute(2, 0, 1).float()


# The evaluation transform


@pytest.mark.parametrize("name", ["sparsenet_bc_40_k12.cifar10", "sparsenet_bc_40_k12.cifar100"])
def test_an_image_of_the_nets_size_is_normalised_and_not_resampled(tmp_path, name):
    pixels = noise(32, 32)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    config = resolve_data_config(create_model(name, device="meta"))
    tensor = create_transform(**config)(open_image(tmp_path / "noise.png"))
    assert tensor.dtype == torch.float32
    torch.testing.assert_close(tensor, normalised(pixels, config["mean"], config["std"]), rtol=0, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    mean=st.tuples(*[st.floats(0, 1)] * 3),
    std=st.tuples(*[st.floats(0.05, 1)] * 3),
    seed=st.integers(0, 1000),
)
def test_normalisation_subtracts_the_mean_and_divides_by_std(mean, std, seed):
    pixels = noise(8, 8, seed=seed)
    tensor = create_transform((3, 8, 8), mean=mean, std=std)(Image.fromarray(pixels))
    torch.testing.assert_close(tensor, normalised(pixels, mean, std), rtol=1e-5, atol=1e-5)


def test_a_grey_net_gets_one_channel(tmp_path):
    pixels = noise(32, 32, 1)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    image = open_image(tmp_path / "grey.png", channels=1)
    assert image.mode == "L"
    tensor = create_transform((1, 32, 32), mean=(0.4,), std=(0.2,))(image)
    torch.testing.assert_close(tensor, normalised(pixels, (0.4,), (0.2,)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("crop_pct", [0.875, 1.0])
def test_the_crop_is_the_centre_of_an_image_whose_shorter_side_needs_no_resizing(crop_pct):
    shorter = math.floor(224 / crop_pct)
    pixels = noise(shorter, shorter + 60)
    tensor = create_transform((3, 224, 224), crop_pct=crop_pct, **PLAIN)(Image.fromarray(pixels))
    top, left = (shorter - 224) // 2, (shorter + 60 - 224) // 2
    expected = torch.from_numpy(pixels[top : top + 224, left : left + 224]).permute(2, 0, 1) / 255
    torch.testing.assert_close(tensor, expected)


def test_a_large_image_is_shrunk_so_that_its_shorter_side_fits():
    """Left half black, right half white, twice as wide as high: both survive in the centre."""
    pixels = np.zeros((128, 256, 3), dtype=np.uint8)
    pixels[:, 128:] = 255
    tensor = create_transform((3, 32, 32), **PLAIN)(Image.fromarray(pixels))
    assert tensor.shape == (3, 32, 32)
    assert tensor[:, :, :14].max() == 0
    assert tensor[:, :, 18:].min() == 1


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_every_interpolation_keeps_a_plain_colour(interpolation):
    image = Image.new("RGB", (50, 70), (255, 0, 51))
    tensor = create_transform((3, 32, 32), interpolation=interpolation, **PLAIN)(image)
    expected = torch.tensor([1.0, 0.0, 0.2]).view(3, 1, 1).expand(3, 32, 32)
    torch.testing.assert_close(tensor, expected)


def test_the_interpolation_matters():
    image = Image.fromarray(noise(50, 50))
    tensors = [
        create_transform((3, 32, 32), interpolation=interpolation, **PLAIN)(image)
        for interpolation in ("nearest", "bilinear", "bicubic", "lanczos")
    ]
    assert all(not torch.equal(one, other) for one, other in pairwise(tensors))


# Modes


def saved(image: Image.Image, path: Path, **options) -> Path:
    image.save(path, **options)
    return path


def test_an_opaque_colour_image_with_alpha_keeps_its_pixels(tmp_path):
    pixels = noise(5, 7, 4)
    pixels[..., 3] = 255
    image = open_image(saved(Image.fromarray(pixels, "RGBA"), tmp_path / "a.png"))
    assert image.mode == "RGB"
    assert np.array_equal(pixels_of(image), pixels[..., :3])


@settings(max_examples=60)
@given(colour=st.tuples(*[st.integers(0, 255)] * 3), alpha=st.integers(0, 255))
def test_colour_with_alpha_is_laid_over_white(colour, alpha):
    image = to_channels(Image.new("RGBA", (1, 1), (*colour, alpha)))
    expected = [255 + (value - 255) * alpha / 255 for value in colour]
    assert list(image.getpixel((0, 0))) == pytest.approx(expected, abs=1)


@settings(max_examples=60)
@given(grey=st.integers(0, 255), alpha=st.integers(0, 255), channels=st.sampled_from([1, 3]))
def test_grey_with_alpha_is_laid_over_white(grey, alpha, channels):
    image = to_channels(Image.new("LA", (1, 1), (grey, alpha)), channels)
    pixel = image.getpixel((0, 0))
    expected = pytest.approx(255 + (grey - 255) * alpha / 255, abs=1)
    assert (pixel if channels == 1 else pixel[0]) == expected


def palette_image() -> Image.Image:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    return image


def test_a_palette_image_takes_the_colours_of_its_palette(tmp_path):
    image = open_image(saved(palette_image(), tmp_path / "a.png"))
    assert pixels_of(image).tolist() == [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_the_transparent_colour_of_a_palette_becomes_white(tmp_path, suffix):
    image = open_image(saved(palette_image(), tmp_path / f"a.{suffix}", transparency=1))
    assert pixels_of(image).tolist() == [[[255, 0, 0], [255, 255, 255], [0, 0, 255]]]


def test_a_palette_may_have_an_alpha_for_each_colour(tmp_path):
    path = saved(palette_image(), tmp_path / "a.png", transparency=bytes([255, 0, 128]))
    first, second, third = pixels_of(open_image(path))[0].tolist()
    assert (first, second) == ([255, 0, 0], [255, 255, 255])
    assert third == pytest.approx([127, 127, 255], abs=1)


@pytest.mark.parametrize(
    ("mode", "transparent"),
    [("RGB", (10, 20, 30)), ("L", 40), ("1", 0), ("RGBA", None), ("LA", None)],
)
def test_what_is_transparent_becomes_white(tmp_path, mode, transparent):
    if transparent is None:
        path = saved(Image.new(mode, (2, 2)), tmp_path / "a.png")
    else:
        path = saved(Image.new(mode, (2, 2), transparent), tmp_path / "a.png", transparency=transparent)
    assert {tuple(pixel) for row in pixels_of(open_image(path)).tolist() for pixel in row} == {WHITE}
    assert set(pixels_of(open_image(path, channels=1)).ravel().tolist()) == {255}


def test_grey_is_repeated_over_three_channels(tmp_path):
    pixels = noise(4, 6, 1)[..., 0]
    image = open_image(saved(Image.fromarray(pixels), tmp_path / "a.png"))
    assert image.mode == "RGB"
    assert np.array_equal(pixels_of(image), np.stack([pixels] * 3, axis=-1))


def test_black_and_white_is_0_and_255(tmp_path):
    pixels = noise(4, 6, 1)[..., 0] > 127
    path = saved(Image.fromarray(pixels), tmp_path / "a.png")
    with Image.open(path) as stored:
        assert stored.mode == "1"
    assert np.array_equal(pixels_of(open_image(path, channels=1)), pixels * np.uint8(255))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_of_grey_become_eight(tmp_path, suffix, channels):
    pixels = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
    path = saved(Image.fromarray(pixels), tmp_path / f"a.{suffix}")
    with Image.open(path) as stored:
        is_old_png = suffix == "png" and version("pillow").startswith("10.0.")
        assert stored.mode == ("I" if is_old_png else "I;16")
    found = pixels_of(open_image(path, channels)).reshape(32, 32, -1)[..., 0].astype(float)
    assert np.abs(found - pixels / 65535 * 255).max() <= 1
    assert (found[0, 0], found[-1, -1]) == (0, 255)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8), "floating-point numbers of no known range"),
        (np.full((8, 8), 70_000, dtype=np.int32), "its pixels are from 70,000 to 70,000"),
        (np.full((8, 8), -1, dtype=np.int32), "its pixels are from -1 to -1"),
    ],
)
def test_numbers_without_a_range_of_8_or_16_bits_are_refused_by_name(tmp_path, pixels, reason):
    path = saved(Image.fromarray(pixels), tmp_path / "a.tif")
    with pytest.raises(OSError, match=reason) as caught:
        open_image(path)
    assert str(caught.value).startswith(f"damaged or unsupported image: {path} (")


def test_cmyk_becomes_the_colours_it_would_print(tmp_path):
    inks = {(0, 0, 0, 0): WHITE, (0, 0, 0, 255): (0, 0, 0), (255, 0, 0, 0): (0, 255, 255)}
    inks[0, 255, 255, 0] = (255, 0, 0)
    for ink, colour in inks.items():
        path = saved(Image.new("CMYK", (4, 4), ink), tmp_path / "a.tif")
        assert open_image(path).getpixel((1, 1)) == colour
    path = saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), tmp_path / "a.jpg", quality=95)
    with Image.open(path) as stored:
        assert stored.mode == "CMYK"
    assert open_image(path).getpixel((4, 4)) == pytest.approx((255, 0, 0), abs=6)


MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "I"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(1, 1), (32, 32), (3, 50), (70, 2)])
def test_every_mode_and_size_gives_a_tensor_of_the_nets_size(mode, size):
    for channels in (1, 3):
        image = to_channels(Image.new(mode, size), channels)
        transform = create_transform((channels, 32, 32), mean=(0.5,) * channels, std=(0.5,) * channels)
        tensor = transform(image)
        assert tensor.shape == (channels, 32, 32)
        assert tensor.isfinite().all()
        assert -1.001 <= tensor.min() <= tensor.max() <= 1.001


@pytest.mark.parametrize("size", [(4_000_000, 1), (1, 4_000_000), (60_000, 2), (7, 50_000)])
@pytest.mark.parametrize("side", [32, 224])
def test_of_a_thread_of_pixels_the_middle_is_used(size, side):
    image = Image.new("L", size)
    width, height = size
    image.paste(255, (width // 2, 0, width, height) if width > height else (0, height // 2, width, height))
    transform = create_transform(
        (1, side, side), mean=(0.0,), std=(1.0,), interpolation="nearest", crop_pct=0.5
    )
    tensor = transform(image)[0]
    ends = (tensor[:, 0], tensor[:, -1]) if width > height else (tensor[0], tensor[-1])
    assert [end.unique().tolist() for end in ends] == [[0.0], [1.0]]


@settings(max_examples=60, deadline=None)
@given(size=st.tuples(st.integers(1, 90), st.integers(1, 90)), crop_pct=st.sampled_from([0.5, 0.875, 1.0]))
def test_the_crop_is_that_of_torchvisions_own_transforms(size, crop_pct):
    """The shorter side becomes floor(side / crop_pct), and the centre is cropped."""
    image = Image.fromarray(noise(*size))
    cover = math.floor(24 / crop_pct)
    theirs = v2.Compose([v2.Resize(cover, v2.InterpolationMode.BICUBIC), v2.CenterCrop(24)])
    assert np.array_equal(
        pixels_of(create_crop((3, 24, 24), crop_pct=crop_pct)(image)), pixels_of(theirs(image))
    )


def test_one_pixel_fills_the_tensor(tmp_path):
    image = open_image(saved(Image.new("RGB", (1, 1), (255, 0, 51)), tmp_path / "a.png"))
    tensor = create_transform((3, 32, 32), **PLAIN)(image)
    torch.testing.assert_close(tensor, torch.tensor([1.0, 0.0, 0.2]).view(3, 1, 1).expand(3, 32, 32))


def test_an_image_of_48_million_pixels_is_read(tmp_path):
    path = saved(Image.new("L", (8000, 6000), 51), tmp_path / "a.png", compress_level=1)
    tensor = create_transform((1, 32, 32), mean=(0.0,), std=(1.0,))(open_image(path, channels=1))
    torch.testing.assert_close(tensor, torch.full((1, 32, 32), 0.2))


UPRIGHT = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_an_image_is_turned_upright_as_its_exif_orientation_says(tmp_path, orientation):
    pixels = noise(3, 5)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(Image.fromarray(pixels), tmp_path / "a.png", exif=exif)
    assert np.array_equal(pixels_of(open_image(path)), UPRIGHT[orientation](pixels))


def test_a_photograph_from_a_phone_held_upright_is_read_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((16, 32, 3), dtype=np.uint8)
    pixels[:, :16] = 255  # white on the left, as stored; on top, as held
    path = saved(Image.fromarray(pixels), tmp_path / "a.jpg", exif=exif, quality=95)
    image = open_image(path)
    assert image.size == (16, 32)
    assert pixels_of(image)[:14].min() > 240
    assert pixels_of(image)[18:].max() < 15


def test_damaged_metadata_are_no_damage_of_the_picture(tmp_path):
    pixels = noise(3, 5)
    path = saved(Image.fromarray(pixels), tmp_path / "a.png", exif=b"Exif\0\0no TIFF")
    assert np.array_equal(pixels_of(open_image(path)), pixels)


def test_a_dark_pgm_of_sixteen_bits_stays_dark(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 65535\n" + bytes([0, 200, 0, 255]))
    assert pixels_of(open_image(tmp_path / "a.pgm")).max() == 0


# Files that are not images


def test_a_missing_image_is_named(tmp_path):
    path = tmp_path / "nowhere.png"
    with pytest.raises(FileNotFoundError) as caught:
        open_image(path)
    assert str(caught.value) == f"image not found: {path}"


def test_a_folder_is_named(tmp_path):
    with pytest.raises(IsADirectoryError) as caught:
        open_image(tmp_path)
    assert str(caught.value) == f"{tmp_path} is a folder, not an image"


@pytest.mark.parametrize("content", [b"", b"no image at all", b"<html></html>" * 50, bytes(1000)])
def test_a_file_that_is_not_an_image_is_named(tmp_path, content):
    path = tmp_path / "cat.png"
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"no image that Pillow can read: ") as caught:
        open_image(path)
    assert str(path) in str(caught.value)


ENDINGS = ["png", "jpg", "gif", "bmp", "webp"]


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("images")
    image = Image.fromarray(noise(24, 24))
    return {ending: saved(image, folder / f"a.{ending}").read_bytes() for ending in ENDINGS}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6])
def test_a_truncated_image_is_named(tmp_path, whole_files, ending, share):
    path, whole = tmp_path / f"cat.{ending}", whole_files[ending]
    path.write_bytes(whole)
    assert open_image(path).size == (24, 24)
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(OSError, match=r"image") as caught:
        open_image(path)
    assert str(path) in str(caught.value)


@settings(max_examples=80, deadline=None)
@given(ending=st.sampled_from(ENDINGS), share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_image_is_read_whole_or_named(tmp_path_factory, whole_files, ending, share):
    path, whole = tmp_path_factory.mktemp("cut") / f"cat.{ending}", whole_files[ending]
    path.write_bytes(whole[: int(len(whole) * share)])
    message = None
    try:
        size = open_image(path).size
    except OSError as error:
        message = str(error)
    assert size == (24, 24) if message is None else str(path) in message


def test_a_postscript_file_under_the_name_of_a_photograph_starts_no_program(tmp_path, monkeypatch):
    started = tmp_path / "started"
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {started}\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    path = tmp_path / "x.jpg"
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n")
    with pytest.raises(OSError, match=r"no image that Pillow can read: .*x\.jpg"):
        open_image(path)
    assert not started.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are a Unix thing")
def test_a_pipe_is_refused_and_does_not_wait_for_a_writer(tmp_path):
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(OSError, match=r"x\.png is no file but a pipe or a device"):
        open_image(tmp_path / "x.png")


def test_an_image_of_more_pixels_than_pillow_warns_of_is_named(tmp_path):
    """A thirtieth of a second and a few kilobytes: it is refused before it is decoded."""
    path = tmp_path / "large.png"
    content = io.BytesIO()
    Image.new("1", (100, 100)).save(content, "png")
    header = struct.pack(">II", 13_000, 13_000)
    png = bytearray(content.getvalue())
    png[16:24] = header
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    path.write_bytes(png)
    with pytest.raises(
        OSError, match=r"large\.png \(Image size \(169000000 pixels\) exceeds limit of 89478485"
    ):
        open_image(path)


def test_an_image_too_large_for_pillow_is_named(tmp_path):
    """A header of a few bytes that promises 4 thousand million pixels."""
    path = tmp_path / "bomb.ppm"
    path.write_bytes(b"P6 65000 65000 255\n" + bytes(100))
    with pytest.raises(OSError, match=r"damaged or unsupported image: .*bomb\.ppm .*exceeds limit"):
        open_image(path)


# Arguments


@pytest.mark.parametrize(
    ("argument", "value", "reason"),
    [
        ("interpolation", "bicubik", "unknown interpolation 'bicubik'; did you mean 'bicubic'"),
        ("crop_mode", "border", "crop_mode must be 'center', got 'border'"),
        ("crop_pct", 0.0, "crop_pct must be in (0, 1], got 0.0"),
        ("crop_pct", 1.5, "crop_pct must be in (0, 1], got 1.5"),
        ("crop_pct", -0.5, "crop_pct must be in (0, 1], got -0.5"),
        ("crop_pct", math.nan, "crop_pct must be in (0, 1], got nan"),
        ("input_size", 224, "input_size must be (channels, height, width) in pixels, got 224"),
        ("input_size", (3, 0, 32), "input_size must be (channels, height, width) in pixels, got (3, 0, 32)"),
        (
            "input_size",
            (0, 32, 32),
            "input_size must be (channels, height, width) in pixels, got (0, 32, 32)",
        ),
        ("input_size", (32, 32), "input_size must be (channels, height, width) in pixels, got (32, 32)"),
        (
            "input_size",
            (1, 3, 32, 32),
            "input_size must be (channels, height, width) in pixels, got (1, 3, 32, 32)",
        ),
    ],
)
@pytest.mark.parametrize("is_training", [False, True])
def test_an_argument_out_of_range_is_refused(argument, value, reason, is_training):
    arguments = {"input_size": (3, 32, 32), **PLAIN, argument: value}
    with pytest.raises(ValueError, match=r".") as caught:
        create_transform(**arguments, is_training=is_training)
    assert str(caught.value).startswith(reason)


def test_the_error_of_an_unknown_interpolation_lists_all():
    with pytest.raises(ValueError, match=r"unknown interpolation 'xyz'; one of ") as caught:
        create_transform((3, 32, 32), interpolation="xyz", **PLAIN)
    for mode in ("nearest", "bilinear", "bicubic", "lanczos"):
        assert repr(mode) in str(caught.value)


@pytest.mark.parametrize("argument", ["mean", "std"])
@pytest.mark.parametrize("value", [0.5, (0.5,), (0.5,) * 4])
def test_a_mean_or_std_without_a_number_for_each_channel_is_named(argument, value):
    with pytest.raises(ValueError, match=r".") as caught:
        create_transform((3, 32, 32), **PLAIN | {argument: value})
    assert str(caught.value) == f"{argument} must have one number for each of 3 channels, got {value!r}"


@pytest.mark.parametrize("missing", ["mean", "std"])
def test_no_normalisation_is_assumed(missing):
    arguments = {key: value for key, value in PLAIN.items() if key != missing}
    with pytest.raises(TypeError, match=missing):
        create_transform((3, 32, 32), **arguments)


# Training


@pytest.mark.parametrize("side", [8, 32, 64, 65, 224])
@pytest.mark.parametrize("size", [(1, 1), (32, 32), (40, 300), (300, 200)])
def test_training_gives_tensors_of_the_size_asked_for(side, size):
    transform = create_transform((3, side, side), is_training=True, **PLAIN)
    tensor = transform(Image.new("RGB", size, "red"))
    assert tensor.shape == (3, side, side)
    assert tensor.dtype == torch.float32


@pytest.mark.parametrize(("side", "source"), [(32, 32), (32, 50), (224, 256)])
def test_training_is_random_and_repeatable_by_torchs_seed(side, source):
    image = Image.fromarray(noise(source, source))
    transform = create_transform((3, side, side), is_training=True, **PLAIN)

    def four_tensors(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(seed)
        return [transform(image) for _ in range(4)]

    first = four_tensors(0)
    assert len({tensor.numpy().tobytes() for tensor in first}) > 1
    assert all(map(torch.equal, first, four_tensors(0)))
    assert not all(map(torch.equal, first, four_tensors(1)))


@pytest.mark.parametrize("side", [32, 224])
def test_evaluation_is_not_random(side):
    image = Image.fromarray(noise(side + 9, side + 4))
    transform = create_transform((3, side, side), **PLAIN)
    assert torch.equal(transform(image), transform(image))


def test_a_small_training_image_is_a_shifted_or_mirrored_whole_without_black_borders():
    pixels = noise(32, 32)
    padded = np.pad(pixels, ((4, 4), (4, 4), (0, 0)), mode="reflect")
    shifted = {padded[top : top + 32, left : left + 32].tobytes() for top in range(9) for left in range(9)}
    mirrored = {np.frombuffer(crop, np.uint8).reshape(32, 32, 3)[:, ::-1].tobytes() for crop in shifted}
    transform = create_transform((3, 32, 32), is_training=True, **PLAIN)
    torch.manual_seed(0)
    found = set()
    for _ in range(60):
        tensor = transform(Image.fromarray(pixels))
        found.add((tensor * 255).round().byte().permute(1, 2, 0).contiguous().numpy().tobytes())
    assert found <= shifted | mirrored
    assert min(len(found & shifted), len(found & mirrored)) > 10


def test_a_large_training_image_is_a_part_of_the_picture_that_varies_in_size():
    """A horizontal ramp: the slope inside the crop tells its width."""
    ramp = np.tile(np.linspace(0, 255, 300).astype(np.uint8)[None, :, None], (300, 1, 3))
    transform = create_transform((3, 224, 224), is_training=True, **PLAIN)
    torch.manual_seed(0)
    crops = [transform(Image.fromarray(ramp)) for _ in range(20)]
    spans = {round(float(crop[0, 0, -5] - crop[0, 0, 5]), 2) for crop in crops}
    assert len(spans) > 3
    assert min(map(abs, spans)) < 0.7
    assert min(spans) < 0 < max(spans)  # some are mirrored


# The image configuration of a net


def test_a_configuration_without_all_of_its_keys_is_refused_by_them():
    with pytest.raises(ValueError, match="configuration has no interpolation and no crop_pct and no"):
        resolve_data_config({"input_size": (3, 64, 64), "mean": (0.5,) * 3, "std": (0.2,) * 3})


def test_the_data_config_holds_what_create_transform_takes():
    net = create_model("sparsenet_40_k12.cifar100", device="meta")
    config = resolve_data_config(net)
    cfg = get_pretrained_cfg("sparsenet_40_k12.cifar100")
    assert config == resolve_data_config(cfg) == resolve_data_config(cfg.to_dict())
    assert config == resolve_model_data_config(net)
    assert config.keys() == {"input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode"}
    assert config["input_size"] == (3, 32, 32)
    assert config["mean"] == (0.5071, 0.4865, 0.4409)
    assert config["std"] == (0.2673, 0.2564, 0.2762)
    assert create_transform(**config, is_training=True)(Image.new("RGB", (40, 40))).shape == (3, 32, 32)


@pytest.mark.parametrize("wrapper", [torch.nn.DataParallel, AveragedModel, torch.compile])
def test_the_data_config_of_a_net_is_found_in_the_wrappers_of_torch(wrapper):
    net = create_model("resnet_20.cifar100")
    assert resolve_data_config(wrapper(net)) == resolve_data_config(net)
    assert resolve_data_config(wrapper(torch.nn.DataParallel(net))) == resolve_data_config(net)
    with pytest.raises(ValueError, match="has no pretrained_cfg with an image configuration"):
        resolve_data_config(wrapper(torch.nn.Linear(2, 2)))


def test_an_imagenet_net_takes_the_centre_of_a_larger_image():
    config = resolve_data_config(create_model("sparsenet121", device="meta"))
    assert config["input_size"] == (3, 224, 224)
    assert config["crop_pct"] == 0.875
    assert create_transform(**config)(Image.new("RGB", (500, 300))).shape == (3, 224, 224)


@pytest.mark.parametrize("net", [SparseNet(depth=7, growth_rate=2), torch.nn.Linear(2, 2)])
def test_a_net_without_a_configuration_is_refused_and_no_default_assumed(net):
    with pytest.raises(ValueError, match=rf"^{type(net).__name__} has no pretrained_cfg") as caught:
        resolve_data_config(net)
    assert "create_model(name)" in str(caught.value)
