"""The Hub: weights fetched whole and verified, models pushed. Transfers are huggingface_hub's.

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
from dataclasses import replace
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

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
from torch import nn

from . import __version__
from .folder import CARD, has_its_published_weights, save_pretrained
from .model_card import model_card
from .model_config import CONFIG, WEIGHTS, Described, read_config
from .pretrained import digest, verify_sha256, without_wrappers

if TYPE_CHECKING:
    from huggingface_hub import HfApi

LIBRARY = "sparsenet_models"


def described_on_hub(
    repository: str, revision: str | None, cache_dir: str | PathLike[str] | None
) -> Described:
    """Return what the config.json of a Hub repository tells, and where its weights are.

    The weights' place is pinned to the commit that the configuration came from: both are of one version.

    Raises:
        ValueError: the configuration is refused, or ``repository`` cannot be one's name.
        OSError: it cannot be fetched.
    """
    path = fetch(repository, CONFIG, revision, cache_dir)
    described = read_config(path)
    return replace(described, cfg=replace(described.cfg, hf_hub_id=repository, revision=path.parent.name))


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
        return ValueError(f"{repository!r} cannot be the name of a Hub repository: {_line(error)}")
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
            f"{wanted} could not be fetched from {endpoint} into {cache}: {_line(error)}; nothing of it was "
            f"kept, {_remedy(error)}"
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


def _line(error: Exception) -> str:
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


def push_to_hub(
    model: nn.Module,
    repository: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str = "Add model",
    token: str | None = None,
) -> str:
    """Push ``model`` to a Hub repository: what ``save_pretrained`` writes, in one commit.

    The repository is made where there is none. A README that is there stays. Weights that are there are
    never replaced by others: new bytes go to a new repository, ``revision``, or a pull request.

    >>> commit = push_to_hub(model, "org/name", private=True)
    >>> create_model(f"hf-hub:org/name@{commit}", pretrained=True)

    Args:
        model: a net by ``create_model``.
        repository: ``org/name``.
        private: whether a repository made here is private; None for the organisation's default.
        revision: the branch to push to; it must be there. None for ``main``.
        create_pr: open a pull request.
        commit_message: the commit's first line.
        token: None for ``HF_TOKEN`` or that of `hf auth login`.

    Returns:
        The commit's full hash.

    Raises:
        ValueError: the model cannot be saved, or the repository has other weights already.
        OSError: the Hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi  # for pushing alone: it costs more than all the rest
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise ValueError(f"{repository!r} cannot be the name of a Hub repository: {_line(error)}") from error
    model = without_wrappers(model)
    api = HfApi(token=token, library_name=LIBRARY, library_version=__version__)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_pretrained(model, folder)
        try:
            return _pushed(api, model, folder, repository, private, revision, create_pr, commit_message)
        except Exception as error:
            if isinstance(error, ValueError) and not isinstance(error, HfHubHTTPError):
                raise
            told = f"the model could not be pushed to {repository} on {constants.ENDPOINT}: {_line(error)}"
            if isinstance(error, HfHubHTTPError):
                raise type(error)(told + _push_remedy(error), response=error.response) from error
            raise OSError(told) from error


def _push_remedy(error: HfHubHTTPError) -> str:
    if isinstance(error, RevisionNotFoundError):
        return "; the branch must be there before"
    if error.response.status_code == 412:
        return "; somebody else pushed at the same time: look, and try again"
    if error.response.status_code in (401, 403):
        return "; run `hf auth login`, or set HF_TOKEN to a token that may write there"
    return ""


def _pushed(
    api: HfApi,
    model: nn.Module,
    folder: Path,
    repository: str,
    private: bool | None,
    revision: str | None,
    create_pr: bool,
    commit_message: str,
) -> str:
    if revision is None:
        repository = api.create_repo(repository, private=private, exist_ok=True).repo_id
    head = api.repo_info(repository, revision=revision).sha
    there = {file.path: file for file in api.get_paths_info(repository, [WEIGHTS, CARD], revision=head)}
    published = getattr(there.get(WEIGHTS), "lfs", None)
    if WEIGHTS in there and not create_pr:
        own = digest(folder / WEIGHTS, hashlib.sha256())
        if published is None or published.sha256 != own:
            raise ValueError(
                f"{repository} has other weights already"
                + (f" at {revision}" if revision else "")
                + ", and published weights are never overwritten: push to a new repository or branch "
                "(revision=), or open a pull request (create_pr=True)"
            )
    if CARD in there:
        (folder / CARD).unlink()
    else:
        card = model_card(model, f"hf-hub:{repository}", has_its_published_weights(model))
        (folder / CARD).write_text(card, encoding="utf-8")
    return api.upload_folder(
        repo_id=repository,
        folder_path=folder,
        revision=revision,
        create_pr=create_pr,
        commit_message=commit_message,
        parent_commit=head,
    ).oid
