"""Push: a model to the Hub, in one commit. Transfers are huggingface_hub's."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError
from torch import nn

from .._version import __version__
from ..common.files import sha256_of
from ..common.messages import first_line
from ..common.wrappers import unwrap_model
from ..models.pretrained_cfg import WEIGHTS
from .fetch import LIBRARY
from .hub_errors import bad_name
from .model_card import CARD, model_card
from .save import has_published_weights, save_pretrained

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def push_to_hub(
    model: nn.Module,
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str = "Add model",
    token: str | None = None,
) -> str:
    """Push ``model`` to a Hub repository: what ``save_pretrained`` writes, in one commit.

    The repository is made where there is none. A README in it is kept. Weights in it are never replaced by
    others: those go to a new repository, another ``revision``, or a pull request.

    Examples:
        >>> commit = push_to_hub(model, "org/name", private=True)
        >>> create_model(f"hf-hub:org/name@{commit}", pretrained=True)

    Args:
        model: a net by ``create_model``.
        repo_id: ``org/name``.
        private: whether a new repository is private; None for the organisation's default.
        revision: the branch to push to, which must exist; None for ``main``.
        create_pr: open a pull request.
        commit_message: the commit's first line.
        token: the Hub's access token; None for ``HF_TOKEN`` or that of `hf auth login`.

    Returns:
        The commit's full hash.

    Raises:
        ValueError: the model cannot be saved, or the repository has other weights already.
        OSError: the Hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi  # here, as it takes longer to import than everything else
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(bad_name(repo_id, error)) from error
    model = unwrap_model(model)
    api = HfApi(token=token, library_name=LIBRARY, library_version=__version__)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_pretrained(model, folder)
        try:
            return _pushed(api, model, folder, repo_id, private, revision, create_pr, commit_message)
        except Exception as error:
            if isinstance(error, ValueError) and not isinstance(error, HfHubHTTPError):
                raise
            message = (
                f"the model could not be pushed to {repo_id} on {constants.ENDPOINT}: {first_line(error)}"
            )
            if isinstance(error, HfHubHTTPError):
                raise type(error)(message + _remedy(error), response=error.response) from error
            raise OSError(message) from error


def _remedy(error: HfHubHTTPError) -> str:
    if isinstance(error, RevisionNotFoundError):
        return "; create the branch first"
    if error.response.status_code == 412:
        return "; somebody else pushed at the same time: look at the repository, and try again"
    if error.response.status_code in (401, 403):
        return "; run `hf auth login`, or set HF_TOKEN to a token that may write there"
    return ""


def _pushed(
    api: HfApi,
    model: nn.Module,
    folder: Path,
    repo_id: str,
    private: bool | None,
    revision: str | None,
    create_pr: bool,
    commit_message: str,
) -> str:
    if revision is None:
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
    head = api.repo_info(repo_id, revision=revision).sha
    files = {file.path: file for file in api.get_paths_info(repo_id, [WEIGHTS, CARD], revision=head)}
    sha256 = sha256_of(folder / WEIGHTS)
    if WEIGHTS in files and not create_pr:
        published = getattr(files[WEIGHTS], "lfs", None)
        if published is None or published.sha256 != sha256:
            raise ValueError(
                f"{repo_id} has other weights already"
                + (f" at {revision}" if revision else "")
                + ", and published weights are never overwritten: push to a new repository or branch "
                "(revision=), or open a pull request (create_pr=True)"
            )
    if CARD in files:
        (folder / CARD).unlink()
    else:
        card = model_card(model, f"hf-hub:{repo_id}", has_published_weights(model), sha256)
        (folder / CARD).write_text(card, encoding="utf-8")
    return api.upload_folder(
        repo_id=repo_id,
        folder_path=folder,
        revision=revision,
        create_pr=create_pr,
        commit_message=commit_message,
        parent_commit=head,
    ).oid
