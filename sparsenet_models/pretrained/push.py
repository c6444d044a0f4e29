"""Models pushed to the Hub, in one commit each. Transfers are huggingface_hub's."""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError
from torch import nn

from .._version import __version__
from ..common.files import digest
from .config_json import WEIGHTS
from .fetch import LIBRARY, first_line
from .folder import CARD, has_its_published_weights, save_pretrained
from .load import unwrap_model
from .model_card import model_card

if TYPE_CHECKING:
    from huggingface_hub import HfApi


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
        raise ValueError(
            f"{repository!r} cannot be the name of a Hub repository: {first_line(error)}"
        ) from error
    model = unwrap_model(model)
    api = HfApi(token=token, library_name=LIBRARY, library_version=__version__)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_pretrained(model, folder)
        try:
            return _pushed(api, model, folder, repository, private, revision, create_pr, commit_message)
        except Exception as error:
            if isinstance(error, ValueError) and not isinstance(error, HfHubHTTPError):
                raise
            told = (
                f"the model could not be pushed to {repository} on {constants.ENDPOINT}: {first_line(error)}"
            )
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
