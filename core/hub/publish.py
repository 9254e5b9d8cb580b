"""Publishing a model on a Hugging Face hub, with its card."""

from __future__ import annotations

from pathlib import Path

from ..contract.hub_job import check_repository
from ..model.facies_model import FaciesModel
from . import client
from .install import file_sha256
from .model_card import PICTURE, draw_example, model_card

COMMIT_S = 1800.0
"""How long an upload may take."""


def publish_model(path: Path, repository: str, *, private: bool = False, endpoint: str | None = None) -> str:
    """
    Upload a model with its card and a picture to a repository, which is made when it is not there.

    Parameters
    ----------
    path : Path
        A model file.
    repository : str
        USER/NAME.
    private : bool
        Whether a new repository is seen by its owner only.
    endpoint : str, optional
        The hub's address; the client's (HF_ENDPOINT) by default.

    Returns
    -------
    str
        The commit's address.

    Raises
    ------
    OadgError
        For a file that is no model of ours, a repository that may not be written, and a hub that does not answer.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    check_repository(repository)
    model = FaciesModel.load(path)
    picture = draw_example(model)
    card = model_card(
        model, repository=repository, file=path.name, sha256=file_sha256(path), has_picture=picture is not None
    )
    contents: dict[str, str | bytes] = {path.name: str(path), "README.md": card.encode()}
    if picture is not None:
        contents[PICTURE] = picture
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=what) for name, what in contents.items()]
    api = HfApi(endpoint=endpoint)

    def upload() -> str:
        api.create_repo(repository, private=private, exist_ok=True)
        message = f"Model {model.model_id} with its card"
        return str(api.create_commit(repository, operations, commit_message=message).commit_url)

    return client.upload(upload, repository, endpoint=endpoint, patience_s=COMMIT_S)
