"""Messages of errors by huggingface_hub: which file, why it did not come, and what to do."""

from __future__ import annotations

import errno
from os import PathLike
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ..common.messages import first_line
from ..models.pretrained_cfg import WEIGHTS
from .config_json import CONFIG


def fetch_error(
    error: Exception,
    repository: str,
    filename: str,
    revision: str | None,
    cache_dir: str | PathLike[str] | None,
) -> Exception:
    """Return the error to raise for ``error`` by ``hf_hub_download``; one of the Hub's keeps its class."""
    cache = Path(constants.HF_HUB_CACHE if cache_dir is None else cache_dir)
    file = f"{filename} of {repository}" + (f" at {revision}" if revision else "")
    if isinstance(error, LocalEntryNotFoundError):
        return LocalEntryNotFoundError(_not_cached(error, file, repository, revision, cache))
    if isinstance(error, HfHubHTTPError):
        message = _answer(error, file, repository, filename, revision)
        return type(error)(message, response=error.response)
    if isinstance(error, HFValidationError):
        return ValueError(bad_name(repository, error))
    return OSError(
        f"{file} could not be fetched from {constants.ENDPOINT} into {cache}: {first_line(error)}; nothing "
        f"of it was kept, {_remedy(error)}"
    )


def bad_name(repository: str, error: Exception) -> str:
    """Return the message for a name that huggingface_hub refuses."""
    return f"{repository!r} cannot be the name of a Hub repository: {first_line(error)}"


def _not_cached(
    error: LocalEntryNotFoundError, file: str, repository: str, revision: str | None, cache: Path
) -> str:
    at = f" --revision {revision}" if revision else ""
    return (
        f"{file} is not in the cache {cache}, and {_why_unreachable(error)}. Three ways out: go online; or "
        f"run `hf download {repository}{at}` where there is a network and bring that cache here (cache_dir= "
        "or HF_HUB_CACHE names it); or bring the files and load local-dir:FOLDER"
    )


def _why_unreachable(error: LocalEntryNotFoundError) -> str:
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    cause = error.__cause__
    if isinstance(cause, FileMetadataError):
        return f"what {constants.ENDPOINT} answers is not the Hub's (a proxy's or a login page?)"
    if isinstance(cause, HfHubHTTPError):
        return f"{constants.ENDPOINT} answers {cause.response.status_code}"
    return f"{constants.ENDPOINT} does not answer"


def _answer(error: HfHubHTTPError, file: str, repository: str, filename: str, revision: str | None) -> str:
    """Return the message for an answer of the Hub other than the file."""
    endpoint, status = constants.ENDPOINT, error.response.status_code
    if isinstance(error, GatedRepoError):
        return f"{repository} is gated: accept its terms at {endpoint}/{repository}, then `hf auth login`"
    if isinstance(error, RepositoryNotFoundError) or status in (401, 403):
        return (
            f"{endpoint} shows no repository {repository} ({status}): it is misspelt, or private; for a "
            "private one run `hf auth login` or set HF_TOKEN"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{repository} has no revision {revision!r} ({status}); give a branch, a tag or a full commit"
    if isinstance(error, EntryNotFoundError):
        at = f" at {revision}" if revision else ""
        needed = f"a model for this library has {CONFIG} and {WEIGHTS}"
        return f"{repository} has no {filename}{at} ({status}); {needed}"
    return f"{file} could not be fetched: {endpoint} answered {status}; nothing of it was kept, try again"


def _remedy(error: Exception) -> str:
    full_or_closed = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
    if isinstance(error, OSError) and error.errno in full_or_closed:
        return "cache_dir= or HF_HUB_CACHE names another folder"
    return "try again"
