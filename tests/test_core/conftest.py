"""Small worlds whose probabilities are known exactly."""

import itertools

import numpy as np
import pytest
import torch

from oadg.core.kriging.indicators import distances
from oadg.core.model.network import FaciesNetwork
from oadg.core.model.network_config import NetworkConfig

torch.set_num_threads(1)  # the networks here are tiny, and threads that wait for a busy core are slow


def simple_kriging_weights(covariance, places, target):
    """Return the weights (n,) of data at places (n, 2) in the estimate at a target (2,): Goovaerts 1997, eq. 5.10."""
    among = covariance(distances(places, places))
    np.fill_diagonal(among, 1)
    return np.linalg.solve(among, covariance(distances(places, target[None])))[:, 0]


class ExactPredictor:
    """
    The perfect predictor of an enumerated distribution of maps.

    It answers on any lattice with offset (0, 0); data are read at the cell where they lie.
    """

    config = NetworkConfig()

    def __init__(self, shape, n_facies, weight):
        self.shape = shape
        self.maps = np.array(list(itertools.product(range(n_facies), repeat=shape[0] * shape[1])))
        self.joint = np.array([weight(m.reshape(shape)) for m in self.maps], dtype=float)
        self.joint /= self.joint.sum()

    def conditional(self, cells, codes):
        """Return joint probabilities given the facies of some cells."""
        fits = (self.maps[:, cells] == codes).all(axis=1)
        return np.where(fits, self.joint, 0) / self.joint[fits].sum()

    def __call__(self, class_index, inside, data, n_facies, *, level, features=None, context=None):
        spacing = 2**level
        logits = torch.full((len(class_index), n_facies, *class_index.shape[1:]), -torch.inf)
        for index in range(len(class_index)):
            place, codes = [], []
            first_row, first_col = (int(inside[index].any(dim=1 - axis).nonzero()[0]) for axis in (0, 1))
            for row, col in (class_index[index] >= 0).nonzero().tolist():
                place.append(((row - first_row) * spacing, (col - first_col) * spacing))
                codes.append(int(class_index[index, row, col]))
            mine = data.batch == index
            for row, col, south, east, code in zip(
                data.row[mine], data.col[mine], data.south[mine], data.east[mine], data.class_index[mine]
            ):
                cell = (float(row - first_row + south) * spacing, float(col - first_col + east) * spacing)
                place.append(tuple(round(v) for v in cell))
                codes.append(int(code))
            cells = [row * self.shape[1] + col for row, col in place]
            posterior = self.conditional(cells, codes)
            for row, col in inside[index].nonzero().tolist():
                cell = (row - first_row) * spacing * self.shape[1] + (col - first_col) * spacing
                p = np.array([posterior[self.maps[:, cell] == k].sum() for k in range(n_facies)])
                logits[index, :, row, col] = torch.as_tensor(np.log(np.maximum(p, 1e-300)))
        return logits


def ising(strength):
    """Return the weight of a map whose neighbours like to be alike."""

    def weight(facies):
        alike = (facies[1:] == facies[:-1]).sum() + (facies[:, 1:] == facies[:, :-1]).sum()
        return np.exp(strength * alike + 0.3 * (facies == 0).sum())

    return weight


@pytest.fixture(scope="session")
def two_by_two():
    return ExactPredictor((2, 2), 2, ising(0.8))


@pytest.fixture(scope="session")
def three_by_three():
    return ExactPredictor((3, 3), 2, ising(0.6))


@pytest.fixture
def tiny_network():
    """Return a network with random weights everywhere, and a small reach."""
    return make_network(NetworkConfig(trunk=(8,), stream=(8,), n_pooled=4, n_evidence=4, n_bottom=1))


@pytest.fixture
def kriging_network():
    """Return a network that takes what kriging reads from the data."""
    config = NetworkConfig(trunk=(8, 8), stream=(8, 8), n_pooled=4, n_evidence=4, n_bottom=1, reads_kriging=True)
    return make_network(config)


@pytest.fixture
def deep_network():
    """Return a network of three scales with random weights everywhere."""
    return make_network(NetworkConfig(trunk=(8, 8, 16), stream=(8, 8, 8), n_pooled=4, n_evidence=4, n_bottom=1))


def make_network(config):
    torch.manual_seed(3)
    network = FaciesNetwork(config)
    torch.nn.init.normal_(network.head.weight, std=0.3)  # it starts at zero, which would make every law trivial
    return network.eval().requires_grad_(False)
