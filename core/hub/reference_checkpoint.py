"""
The published checkpoints of the reference (`model.pt`, state dictionaries of diffusers), read as models of ours.

Such a file is a pickle, which could run programs; torch reads the tensors of it alone, and refuses everything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath

import torch
from torch import Tensor

from ..contract.errors import JobError, ModelError
from ..contract.facies import Facies, FaciesTable
from ..model.facies_model import FaciesModel
from ..model.reference import GROUPS, HALVINGS, N_FACIES, ReferenceConfig, ReferenceNetwork
from ..model.schedule import Schedule

FACIES = FaciesTable((Facies(0, "background", "#e8d9a0"), Facies(1, "foreground", "#2f6db3")))
SCHEDULES = {
    "standard": Schedule.even((64,), 64),
    "preview": Schedule.even((16,), 16),
    "fine": Schedule.even((256,), 256),
}
"""There is one level, which starts from the data."""
LICENCE = "LicenseRef-see-origin"
_SIDES = (8, 1024)
_MOST_CHANNELS = 512
_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""What diffusers called the layers of its attention once, and what it calls them now."""
_OLD_NAME = re.compile(rf"(?<=\.)({'|'.join(_ATTENTION)})(?=\.(weight|bias)$)")
_SIDE = re.compile(r"[_-](\d+)$")


def read_reference_checkpoint(path: Path) -> dict[str, Tensor]:
    """
    Read a state dictionary of diffusers, and nothing else; attention layers get their present names.

    Parameters
    ----------
    path : Path
        A file that `torch.save` wrote.

    Returns
    -------
    dict
        Name to float32 Tensor.

    Raises
    ------
    ModelError
        When the file is truncated, or holds anything else than tensors by name. No program in it is run.
    """
    try:
        with open(path, "rb") as file:  # opened, for torch goes by the names of files
            state = torch.load(file, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a foreign pickle can make the reader raise anything
        raise ModelError(
            f"The file {path} ({path.stat().st_size:,} bytes) cannot be read as a checkpoint ({type(error).__name__}). "
            "A checkpoint is a plain state dictionary: tensors by name, as torch.save writes them. This file is "
            "truncated, damaged, or a pickle of other objects, which are never loaded, for they can run programs."
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise ModelError(f"The file {path} holds no state dictionary (tensors by name), but a {type(state).__name__}.")
    for key, value in state.items():
        if not (isinstance(value, Tensor) and value.layout == torch.strided and value.is_floating_point()):
            raise ModelError(
                f"The file {path} holds no plain state dictionary: its entry {key!r} is no tensor of floats. Save "
                "model.state_dict() alone."
            )
    return {_OLD_NAME.sub(lambda found: _ATTENTION[found.group()], key): v.float() for key, v in state.items()}


def import_checkpoint(path: Path, *, name: str, side: int, origin: str) -> FaciesModel:
    """
    Make a model of a checkpoint of the reference.

    Parameters
    ----------
    path : Path
        The checkpoint.
    name : str
        What the model will be called.
    side : int
        Rows and columns of its grid, which the weights do not tell.
    origin : str
        Where it comes from, in words.

    Raises
    ------
    ModelError
        For a file that is no such checkpoint, and when the package diffusers is missing.
    """
    state = read_reference_checkpoint(path)
    network = ReferenceNetwork(ReferenceConfig(side=side, channels=_channels_of(state, path)))
    _check_fits(state, network.unet.state_dict(), path)
    network.unet.load_state_dict(state)
    return FaciesModel(
        name,
        network.eval().requires_grad_(False),
        FACIES,
        N_FACIES,
        schedules=dict(SCHEDULES),
        provenance={"origin": origin, "converted_from": "a checkpoint of order_agnostic_diffusion_geostats"},
        licence=LICENCE,
    )


def find_name_and_side(places: Iterable[str], file: str) -> tuple[str, int]:
    """
    Return the name of a checkpoint, and the side of its grid, by which the reference ends its names.

    Parameters
    ----------
    places : iterable of str
        Names and paths to look at, the most telling first, such as 'porestar/oadg_channels_64'.
    file : str
        The checkpoint, for the message.

    Raises
    ------
    JobError
        When none ends in a side.
    """
    for place in places:
        *further, folder, last = ("", "", *PurePath(place).parts)
        stem = last.removesuffix(".pt").removesuffix(".pth")
        cached = [part.split("--")[-1] for part in further if part.startswith("models--")]  # models--USER--NAME
        for name in (folder, stem, *cached):
            found = _SIDE.search(name)
            if found and _SIDES[0] <= int(found[1]) <= _SIDES[1] and int(found[1]) % 2**HALVINGS == 0:
                return name, int(found[1])
    raise JobError(
        f"How many rows and columns the grid of the checkpoint {file} has is told neither by its weights nor by its "
        f"place. Give it a NAME that ends in them, such as 'oadg_channels_64' for 64 x 64 cells: a multiple of "
        f"{2**HALVINGS} from {_SIDES[0]} to {_SIDES[1]:,}."
    )


def _channels_of(state: Mapping[str, Tensor], path: Path) -> tuple[int, ...]:
    """Return the channels at each scale."""
    keys = [f"down_blocks.{scale}.resnets.0.conv1.weight" for scale in range(HALVINGS + 1)]
    _check_there(keys, state, path)
    channels = tuple(int((*state[key].shape, 0)[0]) for key in keys)
    for key, n in zip(keys, channels):
        if n % GROUPS or not 0 < n <= _MOST_CHANNELS:
            raise ModelError(
                f"The checkpoint {path} has {key} with {n} output channels; networks of the reference have a multiple "
                f"of {GROUPS}, {_MOST_CHANNELS} at most. It is a checkpoint of another network."
            )
    return channels


def _check_fits(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    """Raise `ModelError` where a state dictionary has other names or shapes than the network."""
    _check_there(expected, state, path)
    surplus = [key for key in state if key not in expected]
    if surplus:
        raise ModelError(
            f"The checkpoint {path} has weights that networks of the reference lack: {_some(surplus)}. It is a "
            "checkpoint of another network."
        )
    for key, tensor in expected.items():
        if state[key].shape != tensor.shape:
            raise ModelError(
                f"The checkpoint {path} has {key} of shape {tuple(state[key].shape)}, where the network of the "
                f"reference has {tuple(tensor.shape)}. It is a checkpoint of another network."
            )


def _check_there(expected: Iterable[str], state: Mapping[str, Tensor], path: Path) -> None:
    """Raise `ModelError` when weights are missing."""
    missing = [key for key in expected if key not in state]
    if missing:
        raise ModelError(
            f"The checkpoint {path} lacks weights that networks of the reference have: {_some(missing)}. It is "
            "incomplete, or a checkpoint of another network."
        )


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
