"""Files of the Hub, fetched whole and verified. Transfers are huggingface_hub's.

So are the cache, its folder (``HF_HOME``, ``HF_HUB_CACHE``), locks, progress bars
(``HF_HUB_DISABLE_PROGRESS_BARS``), tokens (``HF_TOKEN``, `hf auth login`), ``HF_HUB_OFFLINE`` and
``HF_ENDPOINT``.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import re
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from .._version import __version__
from ..common.files import digest, verify_sha256
from .config_json import CONFIG, WEIGHTS

LIBRARY = "sparsenet_models"


def fetch(
    repository: str,
    filename: str,
    revision: str | None,
    cache_dir: str | PathLike[str] | None,
    sha256: str | None = None,
) -> Path:
    """Return a file of a Hub repository from the cache, fetched where it is not there, verified.

    Its bytes must have the hash under which the Hub's cache keeps them, and ``sha256`` where that is given.
    A file that is not what the Hub has is removed from the cache, so that the next call fetches it anew.

    Args:
        repository: ``org/name``.
        filename: within the repository.
        revision: branch, tag or commit; None for ``main``.
        cache_dir: None for the Hub's own folder.
        sha256: 64 hex digits.

    Raises:
        ValueError: ``repository`` cannot be one's name, or the file is not what it should be.
        OSError: it cannot be fetched; where huggingface_hub has a class for the reason, of that class.
    """
    try:
        path = Path(
            hf_hub_download(
                repository,
                filename,
                revision=revision,
                cache_dir=None if cache_dir is None else Path(cache_dir),
                library_name=LIBRARY,
                library_version=__version__,
            )
        )
    except Exception as error:
        raise _told(error, repository, filename, revision, cache_dir) from error
    try:
        _verify_cached(path)
    except ValueError as error:
        removed = _remove_cached(path)
        now = "it was removed from the cache: try again" if removed else "delete it and try again"
        raise ValueError(f"{filename} of {repository} is refused: {error}; {now}") from error
    if sha256 is not None and sha256 != path.resolve().name:  # a blob of that name was just found right
        try:
            verify_sha256(path, sha256)
        except ValueError as error:
            raise ValueError(
                f"{filename} of {repository} is refused: it arrived whole, but its sha256 is not the one "
                f"that the configuration names ({sha256}): the repository holds another file, which "
                "trying again does not change"
            ) from error
    return path


def _told(
    error: Exception,
    repository: str,
    filename: str,
    revision: str | None,
    cache_dir: str | PathLike[str] | None,
) -> Exception:
    """Return ``error`` in our words, of its own class where that is one of the Hub's."""
    if isinstance(error, ValueError) and not isinstance(error, HfHubHTTPError):
        return ValueError(f"{repository!r} cannot be the name of a Hub repository: {first_line(error)}")
    cache = Path(constants.HF_HUB_CACHE if cache_dir is None else cache_dir)
    endpoint = constants.ENDPOINT
    wanted = f"{filename} of {repository}" + (f" at {revision}" if revision else "")
    if isinstance(error, LocalEntryNotFoundError):
        at = f" --revision {revision}" if revision else ""
        return LocalEntryNotFoundError(
            f"{wanted} is not in the cache {cache}, and {_why_unreachable(error)}. Three ways out: go "
            f"online; or run `hf download {repository}{at}` where there is a network and bring that cache "
            "here (cache_dir= or HF_HUB_CACHE names it); or bring the files and load local-dir:FOLDER"
        )
    if not isinstance(error, HfHubHTTPError):
        return OSError(
            f"{wanted} could not be fetched from {endpoint} into {cache}: {first_line(error)}; nothing of "
            f"it was kept, {_remedy(error)}"
        )
    status = error.response.status_code
    if isinstance(error, GatedRepoError):
        told = f"{repository} is gated: accept its terms at {endpoint}/{repository}, then `hf auth login`"
    elif isinstance(error, RepositoryNotFoundError) or status in (401, 403):
        told = (
            f"{endpoint} shows no repository {repository} ({status}): it is misspelt, or private; for a "
            "private one run `hf auth login` or set HF_TOKEN"
        )
    elif isinstance(error, RevisionNotFoundError):
        told = (
            f"{repository} has no revision {revision!r} ({status}): a branch, a tag or a full commit is one"
        )
    elif isinstance(error, EntryNotFoundError):
        told = f"{repository} has no {filename}" + (f" at {revision}" if revision else "")
        told += f" ({status}); a model for this library has {CONFIG} and {WEIGHTS}"
    else:
        told = (
            f"{wanted} could not be fetched: {endpoint} answered {status}; nothing of it was kept, try again"
        )
    return type(error)(told, response=error.response)


def _why_unreachable(error: LocalEntryNotFoundError) -> str:
    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    cause = error.__cause__
    if isinstance(cause, FileMetadataError):
        return f"what {constants.ENDPOINT} answers is not the Hub's (a proxy's or a login page?)"
    if isinstance(cause, HfHubHTTPError):
        return f"{constants.ENDPOINT} answers {cause.response.status_code}"
    return f"{constants.ENDPOINT} does not answer"


def _remedy(error: Exception) -> str:
    full_or_closed = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
    if isinstance(error, OSError) and error.errno in full_or_closed:
        return "cache_dir= or HF_HUB_CACHE names another folder"
    return "try again"


def first_line(error: Exception) -> str:
    """Return the first line of a message, without its full stop."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _verify_cached(path: Path) -> None:
    """Raise unless a cached file has the hash that its blob is named after: sha256, or git's sha1.

    Where the cache has no links (some Windows), or a server names no such hash, there is nothing to check.
    """
    blob = path.resolve()
    size = blob.stat().st_size
    hashers: dict[str, Callable[[], Any]] = {
        r"[0-9a-f]{64}": hashlib.sha256,
        r"[0-9a-f]{40}": lambda: hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False),
    }
    for pattern, hasher in hashers.items():
        if re.fullmatch(pattern, blob.name) and (found := digest(blob, hasher())) != blob.name:
            raise ValueError(f"its hash is {found}, the Hub says {blob.name}")


def _remove_cached(path: Path) -> bool:
    """Remove a file of the Hub's cache, link and content; return whether both are gone."""
    blob = path.resolve()
    with contextlib.suppress(OSError):
        path.unlink()
        blob.unlink(missing_ok=True)
    return not path.is_symlink() and not path.exists() and not blob.exists()
