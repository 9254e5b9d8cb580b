"""A lattice knows which cells its nodes are, and where data lie on and beside them."""

import pytest
import torch

from oadg.core.kriging.kriging_features import SurveyKriging
from oadg.core.model.lattice import Lattice

SHAPE = (11, 7)


@pytest.fixture(params=[1, 2, 4, 8])
def lattice(request):
    position = torch.randint(-20, 20, (6, 2), generator=torch.Generator().manual_seed(0))
    return Lattice.at(SHAPE, request.param, position, 8)


def test_nodes_are_every_cell_of_the_spacing_once(lattice):
    maps = torch.arange(77).view(1, *SHAPE).expand(6, -1, -1)
    cell, inside = lattice.gather(maps)
    for index in range(6):
        row, col = torch.arange(SHAPE[0]), torch.arange(SHAPE[1])
        on_row = (row - lattice.offset[index, 0]) % lattice.spacing == 0
        on_col = (col - lattice.offset[index, 1]) % lattice.spacing == 0
        expected = maps[0][on_row][:, on_col].flatten()
        assert torch.equal(cell[index][inside[index]], expected)
    assert (cell[~inside] == -1).all()


def test_node_of_a_cell_is_where_the_cell_is_read(lattice):
    row, col, inside = lattice.cells()
    batch, node_row, node_col = inside.nonzero(as_tuple=True)
    found = lattice.node_of(batch, row[batch, node_row, 0], col[batch, 0, node_col])
    assert torch.equal(found[0], node_row)
    assert torch.equal(found[1], node_col)


def test_data_keep_their_place(lattice):
    """Node plus distance is the cell of the datum."""
    generator = torch.Generator().manual_seed(1)
    batch = torch.randint(6, (200,), generator=generator)
    row, col = (torch.randint(n, (200,), generator=generator) for n in SHAPE)
    data = lattice.attach(batch, row, col, torch.zeros_like(row))
    assert len(data.row) == len(row)
    for axis, (node, distance, cell) in enumerate([(data.row, data.south, row), (data.col, data.east, col)]):
        origin = lattice.offset[data.batch, axis] - lattice.margin[data.batch, axis] * lattice.spacing
        assert torch.equal((origin + (node + distance) * lattice.spacing).long(), cell)
        assert (distance.abs() <= 0.5).all()
        assert ((node >= 0) & (node < lattice.shape[axis])).all()


def test_a_shift_moves_the_map_by_one_node():
    maps = torch.arange(77).view(1, *SHAPE)
    still, _ = Lattice.at(SHAPE, 2, torch.tensor([[0, 0]]), 8).gather(maps)
    moved, _ = Lattice.at(SHAPE, 2, torch.tensor([[2, -2]]), 8).gather(maps)
    assert torch.equal(moved[0, 1:, 1:], still[0, :-1, :-1])


def test_kriging_is_told_at_the_cells_of_the_nodes(lattice):
    """A node on the grid gets what kriging says of its cell; a map without a survey, and nodes beyond, get nothing."""
    generator = torch.Generator().manual_seed(2)
    cell = torch.randperm(77, generator=generator)[:9]
    place = torch.stack([cell // SHAPE[1], cell % SHAPE[1]], dim=1).float()
    survey = SurveyKriging.fit(place, torch.arange(9) % 3, 3)
    features = lattice.kriging_features([survey, None] * 3, 3)
    row, col, inside = lattice.cells()
    everywhere = torch.cartesian_prod(*(torch.arange(float(n)) for n in SHAPE))
    of_facies, of_place = survey.at(everywhere, lattice.spacing)
    for index in (0, 2, 4):
        node_cell = (row[index] * SHAPE[1] + col[index])[inside[index]]
        assert torch.allclose(features.of_facies[index][:, :, inside[index]], of_facies[:, :, node_cell])
        assert torch.allclose(features.of_place[index][:, inside[index]], of_place[:, node_cell])
        assert (features.of_place[index][:, ~inside[index]] == 0).all()
    assert (features.of_place[1::2] == 0).all()
    assert (features.of_facies[1::2] == 0).all()
