"""Fetch and verify: the weight file of a configuration, here or on the Hub.

Transfers are huggingface_hub's. So are the cache, its folder (``HF_HOME``, ``HF_HUB_CACHE``), locks, progress
bars (``HF_HUB_DISABLE_PROGRESS_BARS``), tokens (``HF_TOKEN``, `hf auth login`), ``HF_HUB_OFFLINE`` and
``HF_ENDPOINT``.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

from .._version import __version__
from ..common.files import digest, local_path, verify_sha256
from ..models.pretrained_cfg import WEIGHTS, PretrainedCfg
from ..models.registry import tags_with_weights

LIBRARY = "sparsenet_models"

TORCH_WEIGHTS = "pytorch_model.bin"
"""The name of the weight file in folders that others wrote by ``torch.save``."""


def verified_file(cfg: PretrainedCfg, cache_dir: str | PathLike[str] | None = None) -> Path:
    """Return the weight file of ``cfg``, fetched if need be, with its sha256 checked.

    Args:
        cfg: names a local file, or a file of a Hub repository.
        cache_dir: where files of the Hub are kept; None for the Hub's own cache.

    Raises:
        ValueError: the tag has no weights, or the file has another sha256 than ``cfg.sha256``.
        OSError: the file cannot be fetched or read.
    """
    if cfg.file is not None:
        path = local_path(cfg.file)
        if not path.exists() and (pickled := path.with_name(TORCH_WEIGHTS)).is_file():
            raise FileNotFoundError(
                f"weight file not found: {path}; checkpoint_path={str(pickled)!r} reads the one that is there"
            )
        if cfg.sha256 is not None:
            try:
                verify_sha256(path, cfg.sha256)
            except ValueError as error:
                raise ValueError(f"{error}: delete it and fetch or write it again") from error
        return path
    if cfg.hf_hub_id is not None:
        name = cfg.hf_hub_filename or WEIGHTS
        return fetch(cfg.hf_hub_id, name, cfg.revision, cache_dir, sha256=cfg.sha256)
    tags = tags_with_weights(cfg.architecture)
    others = f"tags with weights: {', '.join(tags)}" if tags else "none of its tags has any"
    raise ValueError(f"{cfg.name!r} has no pretrained weights; {others}. list_pretrained() names all weights")


def fetch(
    repository: str,
    filename: str,
    revision: str | None,
    cache_dir: str | PathLike[str] | None,
    sha256: str | None = None,
) -> Path:
    """Return a file of a Hub repository: from the cache, fetched if it is not there, and verified.

    The file must have the hash under which the Hub's cache keeps it, and ``sha256`` if that is not None.
    A damaged file is removed from the cache, so that the next call fetches it again.

    Args:
        repository: ``org/name``.
        filename: within the repository.
        revision: branch, tag or commit; None for ``main``.
        cache_dir: None for the Hub's own cache.
        sha256: 64 hexadecimal digits.

    Raises:
        ValueError: ``repository`` cannot be the name of one, or the file has another hash.
        OSError: the file cannot be fetched; of huggingface_hub's class where it has one for the reason.
    """
    from huggingface_hub import hf_hub_download  # here, as it takes a while to import

    cache = None if cache_dir is None else local_path(cache_dir)
    try:
        path = Path(
            hf_hub_download(
                repository,
                filename,
                revision=revision,
                cache_dir=cache,
                library_name=LIBRARY,
                library_version=__version__,
            )
        )
    except Exception as error:
        from .hub_errors import fetch_error

        raise fetch_error(error, repository, filename, revision, cache) from error
    blob = _blob_of(path)
    _check_in_cache(path, blob)
    try:
        is_whole = _has_the_hash_of_its_name(blob)
        if sha256 is not None and not is_whole:  # damaged, or another file than was meant: fetched anew once
            verify_sha256(path, sha256)
    except ValueError as error:
        removed = _remove_cached(path, blob)
        remedy = "it was removed from the cache: try again" if removed else "delete it and try again"
        raise ValueError(f"{filename} of {repository} is refused: {error}; {remedy}") from error
    if sha256 is not None and is_whole and sha256 != blob.name:
        try:
            verify_sha256(path, sha256)
        except ValueError as error:
            raise ValueError(
                f"{filename} of {repository} is refused: it arrived whole, but its sha256 is not the one "
                f"that the configuration names ({sha256}): the repository holds another file, which "
                "trying again does not change"
            ) from error
    return path


def _blob_of(path: Path) -> Path:
    """Return what a file of a snapshot is a link to: the blob with the name that the Hub gave it.

    The blob may be a link itself, to content that several repositories share under a hash of another kind.
    Where the cache has no links (some Windows), it is the file itself.
    """
    return path.parent / path.readlink() if path.is_symlink() else path


def _check_in_cache(path: Path, blob: Path) -> None:
    """Raise unless a file of a snapshot, its blob and their content lie in the cache of its repository.

    A cache may come from somebody else, and what is damaged in it is removed.
    """
    repository = next((above for above in path.parents if above.name.startswith("models--")), path.parent)
    roots = [place.resolve() for place in (repository, repository.parent / "blobs")]
    for place in (path, blob, blob.resolve()):
        if not any((place.parent.resolve() / place.name).is_relative_to(root) for root in roots):
            raise ValueError(f"{path} is refused: it is a link to {place}, outside of the cache")


def _has_the_hash_of_its_name(blob: Path) -> bool:
    """Return whether the name of a blob is the hash of its content: sha256, or git's sha1.

    Raises:
        ValueError: it is the hash of another content.
    """
    size = blob.stat().st_size
    hashers: dict[str, Callable[[], Any]] = {
        r"[0-9a-f]{64}": hashlib.sha256,
        r"[0-9a-f]{40}": lambda: hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False),
    }
    for pattern, hasher in hashers.items():
        if re.fullmatch(pattern, blob.name):
            if (actual := digest(blob, hasher())) != blob.name:
                raise ValueError(f"its hash is {actual}, the Hub says {blob.name}")
            return True
    return False


def _remove_cached(path: Path, blob: Path) -> bool:
    """Remove a file of the Hub's cache, links and content; return whether all are gone."""
    places = (path, blob, blob.resolve())
    with contextlib.suppress(OSError):
        for place in places:
            place.unlink(missing_ok=True)
    return not any(place.is_symlink() or place.exists() for place in places)
