"""The comparison with peers: what it does without any peer's package, on a tiny case."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import torch

from benchmarks.against_peers import __main__ as command
from benchmarks.against_peers.by_size import isolated_data, rows, tiles
from benchmarks.against_peers.draws import Draw, draw, read_image, setting_of, standardised_variogram
from benchmarks.against_peers.measures import score_hidden
from benchmarks.against_peers.methods import PeerError, call_model, call_peer, kriging_probability
from benchmarks.against_peers.tables import conditional_table, unconditional_table
from benchmarks.peers import mps_snesim
from benchmarks.peers.contract import PeerJob, PeerResult
from benchmarks.peers.variograms import (
    CORRELATIONS,
    fit_gaussian_field,
    fit_indicator_covariance,
    truncated_correlation,
)
from oadg.core.contract.facies import build_facies_table
from oadg.core.kriging.indicators import KINDS
from oadg.core.model.facies_model import FaciesModel
from oadg.core.model.network import FaciesNetwork
from oadg.core.model.network_config import NetworkConfig

SIDE = 16
LAGS = np.array([1, 2, 4, 8, 16, 24, 32])


@pytest.fixture(scope="module")
def image():
    """Stripes of two facies that wander, longer along a row."""
    row, col = np.indices((96, 96))
    return ((row + 4 * np.sin(col / 9)) % 12 < 4).astype(np.int64)


@pytest.fixture(scope="module")
def setting(image):
    return setting_of(image, (64, 64), seed=5, threads=1)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    config = NetworkConfig(trunk=(8,), stream=(8,), n_pooled=4, n_evidence=4, n_bottom=1, n_levels=2, n_classes=2)
    network = FaciesNetwork(config).eval().requires_grad_(False)
    provenance = {"image": {"n_rows": 64, "n_cols": 64}}
    return FaciesModel("tiny", network, build_facies_table([0, 1]), 2, provenance=provenance)


def test_a_job_survives_its_file(setting, tmp_path):
    data = draw(setting, 0, SIDE, 9)
    for given in (None, data):
        job = setting.peer_job((SIDE, SIDE), 3, 1, given)
        job.save(tmp_path / "job.npz")
        read = PeerJob.load(tmp_path / "job.npz")
        assert (read.shape, read.seed, read.n_realizations) == (job.shape, job.seed, 3)
        assert read.covariance_kind == job.covariance_kind
        assert (read.class_index == job.class_index).all()
        assert (read.image == setting.learnt).all()


def test_a_result_survives_its_file(tmp_path):
    maps = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    PeerResult(maps, 1.5, "a program").save(tmp_path / "result.npz")
    read = PeerResult.load(tmp_path / "result.npz")
    assert (read.realizations == maps).all()
    assert (read.seconds, read.settings) == (1.5, "a program")


def test_what_is_held_out_is_not_learnt(image, setting):
    assert setting.learnt.shape == (64, 64)
    assert (setting.held_out == image[64:, 64:]).all()


def test_draws_descend_from_their_number(setting):
    first, same, other = (draw(setting, number, SIDE, 9) for number in (1, 1, 2))
    assert (first.known == same.known).all()
    assert (first.known != other.known).any()
    assert (first.known >= 0).sum() == 9
    assert set(first.class_index) == {0, 1}


def test_codes_become_class_indices_in_their_order(tmp_path):
    np.save(tmp_path / "image.npy", np.array([[255, 0], [0, 255]]))
    assert read_image(tmp_path / "image.npy").tolist() == [[1, 0], [0, 1]]
    np.save(tmp_path / "even.npy", np.zeros((2, 2)))
    with pytest.raises(SystemExit, match="1 values; one band of facies is needed"):
        read_image(tmp_path / "even.npy")


def test_correlations_are_those_of_the_kriging():
    ratio = np.linspace(0, 2, 9)
    assert all(CORRELATIONS[kind](ratio) == pytest.approx(KINDS[kind](ratio)) for kind in KINDS)


@pytest.mark.parametrize("kind", CORRELATIONS)
def test_the_fit_finds_the_covariance_that_made_the_variogram(kind):
    ranges, nugget = np.array([[9.0], [30.0]]), 0.2
    variogram = 1 - (1 - nugget) * CORRELATIONS[kind](LAGS / ranges)
    found = fit_indicator_covariance(LAGS, variogram)
    assert found.misfit < 0.03
    assert found.ranges[0] < found.ranges[1]
    assert 0.05 < found.nugget < 0.3


def test_an_image_without_noise_gets_no_nugget(setting):
    found = setting.covariance
    assert found.nugget <= 0.01
    assert found.ranges[0] < found.ranges[1]
    assert setting.variogram.shape == (2, len(setting.lags))


def test_the_standardised_variogram_of_noise_is_one():
    noise = np.random.default_rng(0).integers(0, 3, (200, 200))
    assert standardised_variogram(noise, 3, LAGS) == pytest.approx(1, abs=0.02)


def test_halves_of_a_gaussian_field_obey_the_arcsine_law():
    of_field, of_indicators = truncated_correlation(np.array([0.5, 0.5]))
    assert of_indicators == pytest.approx(2 / np.pi * np.arcsin(of_field), abs=1e-6)


def test_truncation_into_three_facies_agrees_with_a_simulation():
    share, r = np.array([0.3, 0.3, 0.4]), 0.6
    first, second = np.random.default_rng(0).standard_normal((2, 400_000))
    bounds = [NormalDist().inv_cdf(p) for p in (0.3, 0.6)]
    facies = [np.searchsorted(bounds, v) for v in (first, r * first + np.sqrt(1 - r * r) * second)]
    by_chance = (share**2).sum()
    simulated = ((facies[0] == facies[1]).mean() - by_chance) / (1 - by_chance)
    assert np.interp(r, *truncated_correlation(share)) == pytest.approx(simulated, abs=0.005)


def test_the_field_behind_a_truncation_is_found():
    of_field, of_indicators = truncated_correlation(np.array([0.7, 0.3]))
    field = CORRELATIONS["gaussian"](LAGS / np.array([[10.0], [25.0]]))
    found = fit_gaussian_field(LAGS, 1 - np.interp(field, of_field, of_indicators), np.array([0.7, 0.3]))
    assert found.kind == "gaussian"
    assert found.ranges == pytest.approx((10, 25), rel=0.1)


def test_tiles_cover_the_image_and_are_the_reference(model, image):
    row_and_col = np.arange(96 * 96).reshape(96, 96)
    cut = tiles(row_and_col, 40)
    assert cut.shape == (9, 40, 40)
    assert np.unique(cut).size == row_and_col.size
    realizations, crops, whole = rows(model, image, 40, 2, "standard", 1)
    assert "| 2 realizations of 40 x 40 |" in realizations
    assert "| 2 crops of 40 x 40 |" in crops
    assert "| 9 tiles, the whole image, of 40 x 40 | 0.0000, 0.0000, 0.0000 |" in whole
    assert "0.0000, 0.0000, 0.0000" not in realizations


def test_data_of_an_untrained_model_are_isolated_more_often_than_in_the_image(model, image):
    in_maps, in_truth = isolated_data(model, image, SIDE, "standard", 1)
    assert in_truth < in_maps


def test_only_hidden_cells_are_scored():
    truth = np.array([[0, 1], [1, 0]])
    data = Draw(truth, np.array([[0, 0], [0, 1]]))
    probability = np.stack([np.array([[0.0, 1.0], [0.5, 0.5]])] * 2)
    probability[1] = 1 - probability[0]
    assert score_hidden(probability, data).loss == pytest.approx([np.log(2)] * 2)


def test_kriging_is_certain_at_data_and_a_distribution_everywhere(setting):
    data = draw(setting, 3, SIDE, 9)
    probability, _ = kriging_probability(setting, data)
    assert probability.sum(axis=0) == pytest.approx(1)
    at_data = probability[data.class_index, data.cells[:, 0], data.cells[:, 1]]
    assert at_data == pytest.approx(1, abs=0.05)


def test_the_model_honours_the_data(model, setting):
    data = draw(setting, 4, SIDE, 9)
    simulated = call_model(model, (SIDE, SIDE), 3, quality="preview", seed=1, data=data).realizations
    assert simulated.shape == (3, SIDE, SIDE)
    assert (simulated[:, data.known >= 0] == data.known[data.known >= 0]).all()


def test_a_peer_that_does_not_run_says_why(setting):
    job = setting.peer_job((SIDE, SIDE), 2, 0)
    with pytest.raises(PeerError, match=r"no_such_peer ended with 1: .*No module named benchmarks.peers.no_such_peer"):
        call_peer(Path(sys.executable), "no_such_peer", job)
    with pytest.raises(PeerError, match="`make peers` makes that environment"):
        call_peer(Path("no/such/python"), "geone_sis", job)


def test_the_parameters_of_snesim_say_the_job(setting):
    lines = mps_snesim._parameters(setting.peer_job((SIDE, 2 * SIDE), 7, 0, draw(setting, 0, SIDE, 9))).splitlines()
    said = dict(line.split(" # ") for line in lines)
    assert (said["realizations"], said["rows"], said["columns"]) == ("7", "16", "32")
    assert (said["hard data"], said["categories"]) == ("hard.dat", "0;1")


def test_the_command_compares_what_runs_and_names_what_does_not(model, image, tmp_path, monkeypatch, capsys):
    model.save(tmp_path / "model.safetensors")
    np.save(tmp_path / "image.npy", 255 * image)
    output = tmp_path / "figures.json"
    given = f"--quick --side {SIDE} --data 9 --peers-python no/such/python --output {output}".split()
    paths = ["--image", str(tmp_path / "image.npy"), "--model", str(tmp_path / "model.safetensors")]
    monkeypatch.setattr(sys, "argv", ["against_peers", *paths, *given])
    command.main()
    printed, figures = capsys.readouterr().out, json.loads(output.read_text(encoding="utf-8"))
    assert set(figures["left_out"]) == {*command.PEERS, "the reference project's way"}
    assert "Left out: SIS (geone). no/such/python cannot be run" in printed
    assert set(figures["conditional"]) == {"ours", "ours, realizations counted", "simple indicator kriging"}
    assert "other crops of the image" in figures["unconditional"]
    assert conditional_table(figures) in printed
    assert unconditional_table(figures) in printed


def test_a_split_that_leaves_no_block_is_refused(model, image):
    options = argparse.Namespace(split=(64, 90), side=SIDE)
    with pytest.raises(SystemExit, match=r"row 64 and column 90 .* leaves no block of 16 x 16"):
        command.split_of(options, model, image)
