"""Nested lattices of a grid: which cells are the nodes of a level, and which data belong to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import torch
from torch import Tensor

from ..kriging.kriging_features import N_OF_FACIES, N_OF_PLACE, KrigingFeatures, SurveyKriging
from .hard_data import HardData


@dataclass(frozen=True)
class Lattice:
    """
    The nodes of one level for a batch of maps: every `spacing`-th cell, from an offset of each map's own.

    A margin of one node around the grid (none at spacing 1) takes the data that lie between the outermost nodes and
    the border; further nodes outside pad the shape to a multiple of what the network needs. `shift` moves a map by one
    more node, so that which nodes the network folds together is a matter of chance, and averages out.

    Parameters
    ----------
    grid_shape : (int, int)
        Rows and columns of the grid.
    spacing : int
        Cells from node to node, a power of two.
    offset : int64 Tensor, shape (batch, 2)
        Row and column of the first node of each map, 0 … spacing - 1.
    shift : int64 Tensor, shape (batch, 2)
        0 or 1 further nodes before the first one.
    multiple : int
        Rows and columns of the lattice are multiples of this.
    """

    grid_shape: tuple[int, int]
    spacing: int
    offset: Tensor
    shift: Tensor
    multiple: int

    @classmethod
    def at(cls, grid_shape: tuple[int, int], spacing: int, position: Tensor, multiple: int) -> Lattice:
        """
        Return the lattice of a spacing through given cells.

        Parameters
        ----------
        grid_shape, spacing, multiple
            As the class has them.
        position : int64 Tensor, shape (batch, 2)
            Row and column of a cell, on the grid or not, that is a node; odd multiples of the spacing shift the map.
        """
        shift = position // spacing % 2
        return cls(grid_shape, spacing, position % spacing, shift, multiple)

    @classmethod
    def through(
        cls,
        grid_shape: tuple[int, int],
        spacing: int,
        offsets: Sequence[tuple[int, int]],
        multiple: int,
        device: torch.device,
    ) -> Lattice:
        """Return the lattice of a spacing whose nodes, of each map, divide row + offset and col + offset."""
        return cls.at(grid_shape, spacing, -torch.tensor(offsets, device=device), multiple)

    @property
    def margin(self) -> Tensor:
        """Nodes before the first one on the grid, shape (batch, 2)."""
        return self.shift + (0 if self.spacing == 1 else 1)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the lattice, margin and padding included."""
        margins = 1 if self.spacing == 1 else 3  # both sides, and the shift
        n_rows, n_cols = (-(-n // self.spacing) + margins for n in self.grid_shape)
        return -(-n_rows // self.multiple) * self.multiple, -(-n_cols // self.multiple) * self.multiple

    def cells(self) -> tuple[Tensor, Tensor, Tensor]:
        """
        Return the grid cell of every node.

        Returns
        -------
        row : int64 Tensor, shape (batch, n_rows, 1)
        col : int64 Tensor, shape (batch, 1, n_cols)
            Indices, clipped to the grid.
        inside : bool Tensor, shape (batch, n_rows, n_cols)
            Whether the node lies on the grid.
        """
        row, col = self._axes()
        inside_row = (row >= 0) & (row < self.grid_shape[0])
        inside_col = (col >= 0) & (col < self.grid_shape[1])
        row, col = row.clamp(0, self.grid_shape[0] - 1), col.clamp(0, self.grid_shape[1] - 1)
        return row[:, :, None], col[:, None, :], inside_row[:, :, None] & inside_col[:, None, :]

    def gather(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """
        Read maps at the nodes.

        Parameters
        ----------
        maps : int64 Tensor, shape (batch, n_grid_rows, n_grid_cols)
            Class index, negative where unknown.

        Returns
        -------
        class_index : int64 Tensor, shape (batch, n_rows, n_cols)
            -1 where unknown or outside.
        inside : bool Tensor, shape (batch, n_rows, n_cols)
            Whether the node lies on the grid.
        """
        row, col, inside = self.cells()
        batch = torch.arange(len(maps), device=maps.device)[:, None, None]
        return torch.where(inside, maps[batch, row, col], -1), inside

    def node_of(self, batch: Tensor, row: Tensor, col: Tensor) -> tuple[Tensor, Tensor]:
        """Return row and column, on the lattice, of grid cells that are nodes; all of shape (n_cells,)."""
        place = torch.stack([row, col], dim=1) - self.offset[batch]
        node = place // self.spacing + self.margin[batch]
        return node[:, 0], node[:, 1]

    def attach(self, batch: Tensor, row: Tensor, col: Tensor, class_index: Tensor) -> HardData:
        """
        Attach data to their nearest nodes, also those that are nodes: all data are told to the network in one way.

        Parameters
        ----------
        batch, row, col, class_index : int64 Tensor, shape (n_data,)
            Map, grid cell and facies of each datum.
        """
        place = torch.stack([row, col], dim=1) - self.offset[batch]  # (n_data, 2), in cells
        nearest = (place + self.spacing // 2) // self.spacing
        beside = (place - nearest * self.spacing).float() / self.spacing
        node = nearest + self.margin[batch]
        return HardData(batch, class_index, node[:, 0], node[:, 1], beside[:, 0], beside[:, 1])

    def hard_data(self, known: Tensor) -> HardData:
        """Attach the data of a grid (n_grid_rows, n_grid_cols), -1 elsewhere, which all maps share."""
        row, col = (known >= 0).nonzero(as_tuple=True)
        n_maps = len(self.offset)
        batch = torch.arange(n_maps, device=known.device).repeat_interleave(len(row))
        return self.attach(batch, row.repeat(n_maps), col.repeat(n_maps), known[row, col].repeat(n_maps))

    def kriging_features(self, surveys: Sequence[SurveyKriging | None], n_facies: int) -> KrigingFeatures:
        """
        Return what kriging tells at the nodes of each map; nothing where a map has no survey, or off the grid.

        Parameters
        ----------
        surveys : sequence of SurveyKriging or None
            One for each map of the batch.
        n_facies : int
            Number of facies.
        """
        row, col = self._axes()
        _, _, inside = self.cells()
        shape = (len(row), *self.shape)
        of_facies = torch.zeros(len(row), n_facies, N_OF_FACIES, *self.shape, device=row.device)
        of_place = torch.zeros(len(row), N_OF_PLACE, *self.shape, device=row.device)
        places = torch.stack([row[:, :, None].expand(shape), col[:, None, :].expand(shape)], dim=-1).float()
        for index, survey in enumerate(surveys):
            if survey is not None:
                on_grid = inside[index]
                told = survey.at(places[index][on_grid], self.spacing)
                of_facies[index, :, :, on_grid], of_place[index, :, on_grid] = told
        return KrigingFeatures(of_facies, of_place)

    def _axes(self) -> tuple[Tensor, Tensor]:
        """Return the rows (batch, n_rows) and columns (batch, n_cols) of the nodes, in cells, also beyond the grid."""
        row, col = (
            self.offset[:, axis, None]
            + (torch.arange(n, device=self.offset.device) - self.margin[:, axis, None]) * self.spacing
            for axis, n in enumerate(self.shape)
        )
        return row, col
