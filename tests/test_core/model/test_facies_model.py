"""A model file holds everything; whatever is wrong with one is a sentence."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from oadg.core.contract.errors import ModelError
from oadg.core.contract.facies import build_facies_table
from oadg.core.model.facies_model import FaciesModel
from oadg.core.model.network import FaciesNetwork
from oadg.core.model.network_config import NetworkConfig
from oadg.core.model.schedule import SCHEDULES, Schedule
from oadg.core.sampling.sampler import sample
from oadg.core.sampling.start import Start
from oadg.core.sampling.visits import draw_stream


@pytest.fixture
def saved(deep_network, tmp_path):
    path = tmp_path / "a model with spaces é.safetensors"
    model = FaciesModel(
        "channels",
        deep_network,
        facies=build_facies_table(["sand", "clay"]),
        max_facies=2,
        schedules={"standard": Schedule.even((2, 3), 4), "preview": Schedule.even((1,), 2)},
        provenance={"seed": 3, "scores": {"validation_nats": 0.5}},
        licence="MIT",
    )
    model.save(path)
    return model, path


def test_saved_loaded_same_everything(saved):
    model, path = saved
    loaded = FaciesModel.load(path)
    for name in ("name", "facies", "max_facies", "schedules", "provenance", "licence", "model_id"):
        assert getattr(loaded, name) == getattr(model, name)
    assert loaded.network.config == model.network.config


def test_saved_loaded_same_realization(saved):
    model, path = saved
    known, inside = torch.full((24, 20), -1), torch.ones(24, 20, dtype=torch.bool)
    known[5, 5] = 1
    told = Start(known, inside, 2, 1), [draw_stream(0, 0, (24, 20))], SCHEDULES["preview"]
    assert torch.equal(*(sample(m.network, *told) for m in (model, FaciesModel.load(path))))


def test_header_is_readable_without_torch(saved):
    """A model can be listed from its first bytes: no pickle, nothing executed."""
    with safe_open(saved[1], framework="np") as file:
        header = json.loads(file.metadata()["oadg"])
    assert header["licence"] == "MIT"
    assert header["provenance"]["seed"] == 3


def test_saving_leaves_no_part_behind(saved, tmp_path):
    assert [p.name for p in tmp_path.iterdir()] == [saved[1].name]


def test_a_model_is_as_readable_as_other_files(saved, tmp_path):
    """Models are shared: whoever may read a folder's other files may read a model in it."""
    (tmp_path / "other.txt").write_text("")
    assert saved[1].stat().st_mode == (tmp_path / "other.txt").stat().st_mode


def test_a_save_that_fails_keeps_the_old_file(saved, monkeypatch):
    model, path = saved
    before = path.read_bytes()
    monkeypatch.setattr("pathlib.Path.write_bytes", lambda *a, **k: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        model.save(path)
    assert path.read_bytes() == before


def test_missing_file(tmp_path):
    with pytest.raises(ModelError, match=r"There is no model file .*nothing\.safetensors"):
        FaciesModel.load(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize("keep", [0, 7, 100, 5000])
def test_truncated_file(saved, keep):
    path = saved[1]
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=rf"\({keep:,} bytes\) cannot be read as a model.*Install an undamaged file"):
        FaciesModel.load(path)


def test_foreign_files(tmp_path):
    picture = tmp_path / "picture.safetensors"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    with pytest.raises(ModelError, match="cannot be read as a model"):
        FaciesModel.load(picture)
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, other)
    with pytest.raises(ModelError, match="is a safetensors file, but not an OADG model"):
        FaciesModel.load(other)


@pytest.mark.parametrize("level", [None, 0, 2])
def test_the_level_of_the_marginal_is_kept(saved, level):
    model, path = saved
    network = FaciesNetwork(replace(model.network.config, n_levels=3))
    replace(model, network=network, marginal_level=level).save(path)
    assert FaciesModel.load(path).marginal_level == level


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_share_of_the_expectation_is_kept(saved, share):
    model, path = saved
    replace(model, expected_share=share).save(path)
    assert FaciesModel.load(path).expected_share == share


@pytest.mark.parametrize("spoil", ["weights", "network", "facies", "level", "share", "balance"])
def test_a_file_that_does_not_hold_together(saved, spoil):
    path = saved[1]
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["oadg"])
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    if spoil == "weights":
        weights.popitem()
    elif spoil == "network":
        header["network"]["trunk"] = [8, 8]
    elif spoil == "level":
        header["marginal_level"] = 1  # it has one, level 0
    elif spoil == "share":
        header["expected_share"] = 1.5
    elif spoil == "balance":
        header["schedules"]["preview"]["balance"] = [[], [0.1] * 7]
    else:
        header["facies"] = header["facies"][:1]
    save_file(weights, path, metadata={"oadg": json.dumps(header)})
    with pytest.raises(ModelError, match="does not hold together"):
        FaciesModel.load(path)


def test_weights_that_are_no_numbers(saved):
    """Safetensors has no checksum: a damaged file may still be read."""
    model, path = saved
    model.network.head.bias.fill_(float("nan"))
    model.save(path)
    with pytest.raises(ModelError, match=r"holds weights that are no numbers \(in head\.bias\)"):
        FaciesModel.load(path)


def test_half_precision_halves_the_file_and_keeps_the_weights_to_three_figures(tmp_path):
    network = FaciesNetwork(NetworkConfig()).eval()
    model = FaciesModel("m", network)
    model.save(tmp_path / "whole.safetensors")
    model.save(tmp_path / "half.safetensors", half_precision=True)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.55 * sizes[1]
    loaded = FaciesModel.load(tmp_path / "half.safetensors").network.state_dict()
    for key, value in network.state_dict().items():
        assert loaded[key].dtype == torch.float32
        assert torch.allclose(loaded[key], value, rtol=1e-3, atol=1e-6), key
