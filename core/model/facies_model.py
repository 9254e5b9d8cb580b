"""The model file: one safetensors file that holds weights and everything needed to use and to judge them."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..contract.errors import FaciesError, JobError, ModelError
from ..contract.facies import MAX_FACIES, FaciesTable
from ..contract.model_header import FORMAT, HEADER_KEY, check_is_there, incoherent, parse_header, unreadable
from .network import FaciesNetwork
from .network_config import NetworkConfig
from .reference import KIND, ReferenceConfig, ReferenceNetwork
from .schedule import SCHEDULES, Schedule

_TURNS = {"half turn": (0, 2), "flips": (0, 2), "rotations": (0, 1, 2, 3)}
"""Of the symmetries of a training image that allow any."""


@dataclass(frozen=True)
class FaciesModel:
    """
    A trained model.

    Parameters
    ----------
    name : str
        What users call it.
    network : FaciesNetwork or ReferenceNetwork
        The network, in evaluation mode.
    facies : FaciesTable or None
        The facies that it was trained on; None for a universal model, which takes any up to `max_facies`.
    max_facies : int
        Most facies that it takes.
    cell_size : float, optional
        Side of the cells of its training image in metres; in units of its own where the image did not tell any.
    schedules : dict
        Quality name to `Schedule`.
    marginal_level : int, optional
        Level of the lattice on which it is asked for probabilities given dense data, where that is finer than the
        coarsest one, on which realizations start.
    expected_share : float
        Of the facies probabilities given data: so much of them is their expectation over coarse lattices that are
        simulated, the rest what the network answers at once; from 0 to 1.
    provenance : dict
        How it was made: recipe, seed, steps, data and their origin, scores, versions.
    licence : str
        SPDX identifier.
    """

    name: str
    network: FaciesNetwork | ReferenceNetwork
    facies: FaciesTable | None = None
    max_facies: int = MAX_FACIES
    cell_size: float | None = None
    schedules: dict[str, Schedule] = field(default_factory=lambda: dict(SCHEDULES))
    marginal_level: int | None = None
    expected_share: float = 0.0
    provenance: dict[str, Any] = field(default_factory=dict)
    licence: str = "GPL-3.0-or-later"

    @property
    def model_id(self) -> str:
        """Name and a fingerprint of the weights: tells two models of one name apart."""
        digest = hashlib.sha256()
        for key, tensor in sorted(self.network.state_dict().items()):
            digest.update(key.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return f"{self.name}-{digest.hexdigest()[:12]}"

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return next(self.network.parameters()).device

    @property
    def side(self) -> int | None:
        """Rows and columns of the only grid that the model takes; None when it takes any."""
        return self.network.config.side if isinstance(self.network, ReferenceNetwork) else None

    @property
    def turns(self) -> tuple[int, ...]:
        """Quarter turns by which a map may be shown to the network turned, since it learnt both alike."""
        if not self.network.config.n_classes:
            return 0, 1, 2, 3  # any facies, in all orientations
        return _TURNS.get(self.provenance.get("image", {}).get("symmetry"), (0,))

    @property
    def learnt_crops(self) -> bool:
        """Whether it learnt what crops of a larger image look like: no universal model, none of images seen whole."""
        of_image = self.provenance.get("image", {})
        return bool(self.network.config.n_classes) and self.side is None and "n_images" not in of_image

    def schedule_of(self, quality: str) -> Schedule:
        """Return the schedule of a quality; raise `JobError` when the model has none."""
        if quality not in self.schedules:
            raise JobError(
                f"The model {self.name} has no schedule for the quality {quality!r}; it has "
                f"{', '.join(self.schedules)}. Choose one of these."
            )
        return self.schedules[quality]

    def check_takes(self, facies: FaciesTable, shape: tuple[int, int] | None = None) -> None:
        """
        Raise an error when a job does not fit the model.

        Parameters
        ----------
        facies : FaciesTable
            The job's.
        shape : (int, int), optional
            Rows and columns of the job's grid.

        Raises
        ------
        FaciesError
            When the facies are too many for the model, or not those that it was trained on.
        JobError
            When the model takes grids of another size only.
        """
        if len(facies) > self.max_facies:
            raise FaciesError(
                f"The model {self.name} takes up to {self.max_facies} facies; the observations hold {len(facies)}. "
                "Group rare facies together, or choose another model."
            )
        if self.facies is not None and facies.codes.tolist() != self.facies.codes.tolist():
            raise FaciesError(
                f"The model {self.name} was trained on the facies codes {self.facies.codes.tolist()}, in this order; "
                f"the job has {facies.codes.tolist()}. Give the observations the codes, or the names, of the model."
            )
        if shape is not None and isinstance(self.network, ReferenceNetwork):
            self.network.check_grid(shape)

    def save(self, path: Path, *, half_precision: bool = False) -> None:
        """
        Write the model file; an existing one is replaced in one step, never half.

        Parameters
        ----------
        path : Path
            Where.
        half_precision : bool
            Store the weights as 16-bit floats: half the size, and weights that differ by up to one part in 2,000.
        """
        header = {
            "format": FORMAT,
            "name": self.name,
            "network": self.network.config.to_dict(),
            "facies": self.facies.to_list() if self.facies else None,
            "max_facies": self.max_facies,
            "cell_size": self.cell_size,
            "schedules": {quality: schedule.to_dict() for quality, schedule in self.schedules.items()},
            "marginal_level": self.marginal_level,
            "expected_share": self.expected_share,
            "provenance": self.provenance,
            "licence": self.licence,
        }
        kind = torch.float16 if half_precision else torch.float32
        weights = {
            key: tensor.detach().cpu().to(kind).contiguous() for key, tensor in self.network.state_dict().items()
        }
        temporary = path.with_name(path.name + ".part")
        try:
            temporary.write_bytes(save(weights, metadata={HEADER_KEY: json.dumps(header)}))  # as others are readable
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu") -> FaciesModel:
        """
        Read a model file.

        Parameters
        ----------
        path : Path
            A file written by `save`.
        device : torch.device or str
            Where the weights go.

        Raises
        ------
        ModelError
            When the file is missing, truncated, no safetensors file, or not one of ours.
        """
        header, weights = _read(path)
        try:
            network = _build_network(header["network"])
            network.load_state_dict(weights)
            model = cls(
                name=str(header["name"]),
                network=network.to(device).eval().requires_grad_(False),
                facies=FaciesTable.from_list(header["facies"]) if header["facies"] else None,
                max_facies=int(header["max_facies"]),
                cell_size=None if header.get("cell_size") is None else float(header["cell_size"]),
                schedules={quality: _schedule(s, header["network"]) for quality, s in header["schedules"].items()},
                marginal_level=_level(header.get("marginal_level"), header["network"]),
                expected_share=_share(header.get("expected_share", 0.0)),
                provenance=dict(header["provenance"]),
                licence=str(header["licence"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError, FaciesError) as error:
            raise ModelError(incoherent(path, error)) from error
        return model


def _level(level: object, network: dict[str, Any]) -> int | None:
    """Return a level that the network has, or None; raise `ValueError` for others."""
    if level is None or (isinstance(level, int) and 0 <= level < network["n_levels"]):
        return level
    raise ValueError(f"there is no level {level!r}")


def _schedule(description: dict[str, Any], network: dict[str, Any]) -> Schedule:
    """Return a schedule; raise `ValueError` when it adds to the logits of other facies than the network's."""
    schedule = Schedule.from_dict(description)
    if all(len(logits) in (0, network.get("n_classes", 0)) for logits in schedule.balance):
        return schedule
    raise ValueError(f"what is added to logits, {schedule.balance!r}, is not of its facies")


def _share(share: object) -> float:
    """Return a share; raise `ValueError` for what is none."""
    if isinstance(share, (int, float)) and 0 <= share <= 1:
        return float(share)
    raise ValueError(f"{share!r} is no share")


def _build_network(description: dict[str, Any]) -> FaciesNetwork | ReferenceNetwork:
    """Return the network, of whichever kind, that a header describes."""
    if description.get("kind") == KIND:
        return ReferenceNetwork(ReferenceConfig.from_dict(description))
    return FaciesNetwork(NetworkConfig.from_dict(description))


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Read header and weights, each problem a sentence."""
    check_is_there(path)
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(HEADER_KEY)
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(unreadable(path, error)) from error
    header = parse_header(path, text)
    spoilt = [key for key, tensor in weights.items() if not tensor.isfinite().all()]
    if spoilt:
        raise ModelError(
            f"The model file {path} holds weights that are no numbers (in {spoilt[0]}). It was damaged, or its "
            "training failed: install the model again."
        )
    return header, weights
