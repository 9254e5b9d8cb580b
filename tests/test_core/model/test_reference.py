"""The reference's own checkpoints: what diffusers writes runs through our sampler, and says what diffusers says."""

from __future__ import annotations

import hashlib
import json
import pickle
import sys
from dataclasses import replace

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub import constants

from oadg.core.contract.errors import FaciesError, HubError, JobError, ModelError
from oadg.core.contract.facies import Facies, FaciesTable
from oadg.core.contract.grid import Grid
from oadg.core.contract.hub_job import InstallJob, read_origin
from oadg.core.contract.job import SimulationJob
from oadg.core.hub.client import choose_file
from oadg.core.hub.install import install_model
from oadg.core.hub.model_card import draw_example
from oadg.core.hub.reference_checkpoint import FACIES, find_name_and_side, import_checkpoint, read_reference_checkpoint
from oadg.core.model.facies_model import FaciesModel
from oadg.core.model.lattice import Lattice
from oadg.core.model.network import FaciesNetwork
from oadg.core.model.network_config import NetworkConfig
from oadg.core.model.reference import ReferenceConfig
from oadg.core.model.schedule import Schedule
from oadg.core.sampling.marginal import marginal
from oadg.core.sampling.sampler import sample
from oadg.core.sampling.simulation import run_simulation
from oadg.core.sampling.start import Start, coarsest_level
from oadg.core.sampling.visits import draw_stream
from oadg.core.training.warm_start import start_from

PUBLISHED = (64, 64, 128, 128)
SMALL = (32, 32, 64, 64)  # one channel in each of the 32 groups of the normalisation
FIRST = "down_blocks.0.resnets.0.conv1.weight"
OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def quiet(fraction, text):
    pass


def make_unet(side, channels, seed=0):
    """The network as the reference's training script makes it, with weights that tell inputs apart."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(seed)
    unet = diffusers.UNet2DModel(
        sample_size=side,
        in_channels=2,
        out_channels=2,
        layers_per_block=2,
        block_out_channels=channels,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )
    return unet.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def unet():
    return make_unet(16, SMALL)


@pytest.fixture
def checkpoint(unet, tmp_path):
    """A checkpoint, in a folder that is called as the repository would be."""
    path = tmp_path / "oadg_tiny_16" / "model.pt"
    path.parent.mkdir()
    torch.save(unet.state_dict(), path)
    return path


@pytest.fixture
def model(checkpoint):
    return import_checkpoint(checkpoint, name="oadg_tiny_16", side=16, origin="a test")


@pytest.fixture
def model_path(model, tmp_path):
    path = tmp_path / "oadg_tiny_16.safetensors"
    model.save(path)
    return path


@pytest.fixture
def job(model_path, tmp_path):
    """Forty observations of both facies on the grid that the model takes."""
    row, col = np.divmod(np.random.default_rng(5).permutation(16 * 16)[:40], 16)
    return SimulationJob(
        grid=Grid(west=0.0, north=400.0, cell_size=25.0, n_rows=16, n_cols=16),
        facies=FACIES,
        row=tuple(row.tolist()),
        col=tuple(col.tolist()),
        class_index=tuple((np.arange(40) % 2).tolist()),
        model_path=str(model_path),
        work_folder=str(tmp_path),
        n_realizations=3,
        quality="preview",
        seed=7,
        device="cpu",
    )


def draw_known(side, n_maps, seed=1):
    """Maps of which each knows another number of cells, both facies among them; the first one nothing."""
    rng = np.random.default_rng(seed)
    share = np.linspace(0, 0.7, n_maps)[:, None, None]
    known = rng.random((n_maps, side, side)) < share
    return torch.as_tensor(np.where(known, rng.integers(0, 2, known.shape), -1))


def ask_diffusers(unet, known):
    """What the reference asks: the facies one-hot and zero where unknown, and the number of known cells."""
    told = torch.stack([known == 0, known == 1], dim=1).float()
    counts = torch.tensor([int((one >= 0).sum()) for one in known])
    with torch.inference_mode():
        return unet(told, counts).sample


def ask_us(network, known, offsets):
    """What the sampler asks, of the grid at other places of its lattice."""
    side = known.shape[1]
    position = -torch.tensor(offsets)
    lattice = Lattice.at((side, side), 1, position, network.config.total_stride)
    class_index, inside = lattice.gather(known)
    assert not inside.all(), "the lattice is larger than the grid"
    with torch.inference_mode():
        logits = network(class_index, inside, lattice.hard_data(known[0]), 2, level=0)
    assert logits.shape == (len(known), 2, *class_index.shape[1:])
    return logits.permute(0, 2, 3, 1)[inside].view(len(known), side, side, 2).permute(0, 3, 1, 2)


@pytest.mark.parametrize(("side", "channels"), [(16, SMALL), (32, PUBLISHED), (64, PUBLISHED)])
def test_it_says_what_diffusers_says(tmp_path, side, channels):
    unet = make_unet(side, channels, seed=side)
    torch.save(unet.state_dict(), tmp_path / "model.pt")
    import_checkpoint(tmp_path / "model.pt", name="x", side=side, origin="a test").save(tmp_path / "x.safetensors")
    network = FaciesModel.load(tmp_path / "x.safetensors").network
    known = draw_known(side, 4)
    expected = ask_diffusers(unet, known)
    assert expected.std() > 0.01
    answer = ask_us(network, known, [(0, 0), (1, 0), (0, 1), (1, 1)])
    assert torch.allclose(answer, expected, rtol=0, atol=1e-5)
    # One by one, as the reference's own loop asks. The empty map is left out: the first normalisation of a constant
    # field amplifies rounding, which depends on the batch, in diffusers as here.
    assert torch.allclose(answer[1:], torch.cat([ask_diffusers(unet, one[None]) for one in known[1:]]), atol=1e-5)


def test_both_facies_and_their_number_matter(unet, model):
    known = draw_known(16, 2)[1:]
    answer = ask_us(model.network, known, [(0, 0)])
    swapped = torch.where(known >= 0, 1 - known, -1)
    foreground = torch.where(known == 0, -1, known)
    for other in (swapped, foreground):
        assert (ask_us(model.network, other, [(0, 0)]) - answer).abs().max() > 1e-3


def test_older_names_of_the_attention_are_translated(unet, tmp_path):
    old = {}
    for key, tensor in unet.state_dict().items():
        for now, then in OLD_NAMES.items():
            key = key.replace(f".{now}.", f".{then}.")
        old[key] = tensor
    renamed = set(old) - set(unet.state_dict())
    assert "down_blocks.2.attentions.0.proj_attn.bias" in renamed
    assert "mid_block.attentions.0.query.weight" in renamed
    torch.save(old, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    read = read_reference_checkpoint(tmp_path / "old.pt")
    assert read.keys() == unet.state_dict().keys()
    assert all(torch.equal(read[key], tensor) for key, tensor in unet.state_dict().items())


def test_saved_and_loaded_it_is_the_same_model(model, model_path):
    loaded = FaciesModel.load(model_path)
    assert loaded.model_id == model.model_id
    assert (loaded.side, loaded.facies, loaded.schedules) == (16, FACIES, model.schedules)
    assert loaded.network.config == model.network.config == ReferenceConfig(side=16, channels=SMALL)
    assert not loaded.network.training
    passes = {quality: schedule.n_passes(0) for quality, schedule in loaded.schedules.items()}
    assert passes == {"standard": 64, "preview": 16, "fine": 256}


def whole_grid(known):
    """Return where a simulation of two facies starts, on all cells of a grid with these data."""
    return Start(known, torch.ones_like(known, dtype=torch.bool), 2, 0)


def test_sampling_starts_and_ends_on_the_whole_grid_and_honours_both_facies(model):
    known = draw_known(16, 2)[1]
    assert {0, 1} <= set(known.unique().tolist())
    assert coarsest_level(model.network.config, (16, 16), 5) == 0
    streams = [draw_stream(3, index, (16, 16)) for index in range(3)]
    maps = sample(model.network, whole_grid(known), streams, Schedule.even((4,), 4))
    assert set(maps.unique().tolist()) == {0, 1}
    assert (maps[:, known >= 0] == known[known >= 0]).all()
    assert len(maps.unique(dim=0)) == 3


def test_the_marginal_is_the_first_pass(unet, model):
    known = draw_known(16, 2)[1]
    probability = marginal(model.network, whole_grid(known), positions_at_once=4)
    expected = ask_diffusers(unet, known[None])[0].softmax(dim=0)
    assert torch.allclose(probability[:, known < 0], expected[:, known < 0], atol=1e-5)
    assert torch.equal(probability[1][known >= 0], known[known >= 0].float())


def test_one_cell_at_a_time_is_what_the_reference_draws(unet, model):
    known = torch.full((16, 16), -1)
    known[4, 4], known[9, 3] = 1, 0
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[3:5, 3:6] = True  # the five unknown cells of it, one in a pass
    stream = draw_stream(11, 0, (16, 16))
    shares = Schedule(((1.0,),), tuple((k + 1) / 5 for k in range(5)))
    drawn = sample(model.network, Start(known, inside, 2, 0), [stream], shares)[0]
    maps = known.clone()
    for row, col in sorted(((inside) & (known < 0)).nonzero().tolist(), key=lambda cell: stream.rank[tuple(cell)]):
        p = ask_diffusers(unet, maps[None])[0, :, row, col].softmax(dim=0)
        maps[row, col] = int(p[0] <= stream.uniform[row, col])
    assert torch.equal(torch.where(inside, drawn, maps), maps)


def test_a_whole_simulation(job):
    result = run_simulation(job, quiet)
    maps, probability = np.load(result.realizations_path), np.load(result.probability_path)
    assert maps.shape == (3, 16, 16)
    assert set(np.unique(maps)) == {0, 1}
    assert (maps[:, job.row, job.col] == job.class_index).all()
    assert probability.sum(axis=0) == pytest.approx(1, abs=1e-5)
    assert (probability[job.class_index, job.row, job.col] == 1).all()
    assert result.model_id.startswith("oadg_tiny_16-")
    again = np.load(run_simulation(replace(job, n_realizations=1), quiet).realizations_path)
    assert (again[0] == maps[0]).all()


@pytest.mark.parametrize("shape", [(16, 20), (24, 16), (2000, 2000), (3, 3)])
def test_a_grid_of_another_size(job, model, shape):
    grid = Grid(west=0.0, north=400.0, cell_size=25.0, n_rows=shape[0], n_cols=shape[1])
    words = rf"{shape[0]:,} rows and {shape[1]:,} columns; this model.* takes 16 x 16 cells only.*width divided by 16"
    with pytest.raises(JobError, match=words):
        run_simulation(replace(job, grid=grid, row=(), col=(), class_index=()), quiet)
    with pytest.raises(JobError, match=words):
        marginal(model.network, whole_grid(torch.full(shape, -1)), positions_at_once=1)


def test_a_picture_of_it_has_its_size(model):
    quick = replace(model, schedules={"preview": Schedule.even((2,), 2)})
    assert draw_example(quick).startswith(b"\x89PNG")


def test_no_training_starts_from_it(model):
    ours = FaciesNetwork(NetworkConfig(trunk=(8,), stream=(8,), n_pooled=4, n_evidence=4, n_bottom=1))
    with pytest.raises(ModelError, match="is a checkpoint of the reference.*Start from another model"):
        start_from(ours, model.network)


def test_facies_of_other_codes(job):
    facies = FaciesTable((Facies(1, "a", "#e69f00"), Facies(2, "b", "#56b4e9")))
    with pytest.raises(FaciesError, match=r"trained on the facies codes \[0, 1\]"):
        run_simulation(replace(job, facies=facies), quiet)


def test_without_diffusers_it_is_said_what_to_install(monkeypatch, tmp_path):
    state = {f"down_blocks.{k}.resnets.0.conv1.weight": torch.zeros(32, 1) for k in range(4)}
    torch.save(state, tmp_path / "model.pt")
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ModelError, match=r"needs the package diffusers.*'Engine status' shows.*pip install diffusers$"):
        import_checkpoint(tmp_path / "model.pt", name="x", side=16, origin="a test")


def test_an_installed_one_without_diffusers(job, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ModelError, match="needs the package diffusers"):
        run_simulation(job, quiet)


class Trap:
    """Would make a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickle_is_not_executed(tmp_path, install):
    folder, sprung = tmp_path / "trap_16", tmp_path / "sprung"
    folder.mkdir()
    path = folder / "model.pt"
    for write in (lambda what: torch.save(what, path), lambda what: path.write_bytes(pickle.dumps(what))):
        write({FIRST: Trap(sprung)})
        with pytest.raises(ModelError, match=r"cannot be read as a checkpoint.*can run programs"):
            read_reference_checkpoint(path)
        with pytest.raises(ModelError, match=r"model.pt from the file .* was not installed\. The file model.pt"):
            install(source=str(folder))
        assert not sprung.exists()
    assert not install.folder.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([torch.zeros(2)], "holds no state dictionary .* but a list"),
        (torch.zeros(2), "holds no state dictionary .* but a Tensor"),
        ({1: torch.zeros(2)}, "holds no state dictionary"),
        ({"model": {"weight": torch.zeros(2)}}, "its entry 'model' is no tensor of floats"),
        ({"step": 3}, "its entry 'step' is no tensor of floats"),
        ({"count": torch.zeros(2, dtype=torch.int64)}, "its entry 'count' is no tensor of floats"),
    ],
)
def test_what_is_no_plain_state_dictionary(tmp_path, content, words):
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(ModelError, match=words):
        read_reference_checkpoint(tmp_path / "model.pt")


def test_a_truncated_checkpoint(tmp_path):
    torch.save({FIRST: torch.zeros(100)}, tmp_path / "model.pt")
    whole = (tmp_path / "model.pt").read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"not a checkpoint"):
        (tmp_path / "model.pt").write_bytes(content)
        with pytest.raises(ModelError, match=rf"\({len(content):,} bytes\) cannot be read as a checkpoint.*truncated"):
            read_reference_checkpoint(tmp_path / "model.pt")


def drop(key):
    return lambda state: state.pop(key)


def put(key, *shape):
    return lambda state: state.update({key: torch.zeros(shape)})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop(FIRST), f"lacks weights .* have: {FIRST}. It is incomplete"),
        (drop("conv_out.bias"), r"lacks weights that networks of the reference have: conv_out\.bias\. It is"),
        (dict.clear, r"lacks weights .* and 1 more\. It is incomplete"),
        (put("class_embedding.weight", 2), "weights that networks of the reference lack: class_embedding.weight"),
        (put("conv_in.weight", 32, 3, 3, 3), r"conv_in.weight of shape \(32, 3, 3, 3\), .* has \(32, 2, 3, 3\)"),
        (put(FIRST, 48, 32, 3, 3), f"{FIRST} with 48 output channels; .* multiple of 32, 512 at most"),
        (put(FIRST, 4096, 32, 3, 3), "with 4096 output channels"),
        (put(FIRST), "with 0 output channels"),
    ],
)
def test_checkpoints_of_other_networks(unet, tmp_path, change, words):
    state = dict(unet.state_dict())
    change(state)
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(ModelError, match=words):
        import_checkpoint(tmp_path / "model.pt", name="x", side=16, origin="a test")


@pytest.mark.parametrize(
    ("places", "found"),
    [
        (("porestar/oadg_channels_64", "Mine"), ("oadg_channels_64", 64)),
        (("porestar/oadg_mnist_32", "Other_64"), ("oadg_mnist_32", 32)),
        (("", "somewhere_8/oadg_mnist_32/model.pt"), ("oadg_mnist_32", 32)),
        (("mine-128", "oadg_mnist_32/model.pt"), ("mine-128", 128)),
        (("", "/a/models--porestar--oadg_channels_64/snapshots/0a1b/model.pt"), ("oadg_channels_64", 64)),
        (("", "channels_64.pth"), ("channels_64", 64)),
    ],
)
def test_the_side_is_in_the_name(places, found):
    assert find_name_and_side(places, "model.pt") == found


@pytest.mark.parametrize(
    "places", [("geo/delta", ""), ("", "run_12/model.pt"), ("", "step_20000.pth"), ("", "x_0/y.pt")]
)
def test_a_side_that_is_not_told(places):
    with pytest.raises(JobError, match=r"the checkpoint model.pt has is told neither.*NAME that ends in them"):
        find_name_and_side(places, "model.pt")


def test_models_of_ours_go_before_checkpoints():
    files = ["README.md", "model.pt", "optimizer.pt", "delta.safetensors"]
    assert choose_file(files, "", "Here") == "delta.safetensors"
    assert choose_file(files[:3], "", "Here") == "model.pt"
    assert choose_file(files, "model.pt", "Here") == "model.pt"
    with pytest.raises(HubError, match=r"nor a checkpoint of the reference \(model.pt\); it holds a.bin.*never loaded"):
        choose_file(["a.bin", "optimizer.pt"], "", "Here")


@pytest.fixture
def install(hub, tmp_path, monkeypatch):
    """Install into a folder, from a hub on this computer."""
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    getattr(huggingface_hub, "close_session", lambda: None)()
    folder = tmp_path / "models"

    def run(repository="", **asked):
        return install_model(InstallJob("", str(folder), repository, **asked), quiet, endpoint=hub.address)

    run.folder = folder
    return run


def test_a_repository_of_the_reference_is_installed(hub, install, checkpoint, model, job):
    content = checkpoint.read_bytes()
    commit = hub.add("porestar/oadg_tiny_16", {"model.pt": content, "README.md": b"card"})
    result = install("porestar/oadg_tiny_16", sha256=hashlib.sha256(content).hexdigest())
    path = install.folder / "oadg_tiny_16.safetensors"
    assert (result.model_path, result.name, result.model_id) == (str(path), "oadg_tiny_16", model.model_id)
    assert (result.commit, result.checked_against) == (commit, "user")
    assert result.sha256 == hashlib.sha256(content).hexdigest()
    note = json.loads(json.dumps(read_origin(path)))
    assert (note["repository"], note["file"], note["commit"]) == ("porestar/oadg_tiny_16", "model.pt", commit)
    assert FaciesModel.load(path).provenance["origin"] == result.origin
    maps = np.load(run_simulation(replace(job, model_path=str(path)), quiet).realizations_path)
    assert (maps[:, job.row, job.col] == job.class_index).all()
    hub.tampers = True
    with pytest.raises(HubError, match="as the hub says"):
        install("porestar/oadg_tiny_16", name="again")


def test_without_the_hub_its_clients_cache_does(hub, install, checkpoint, model, tmp_path):
    hub.add("porestar/oadg_tiny_16", {"model.pt": checkpoint.read_bytes()})
    cached = {"endpoint": hub.address, "cache_dir": tmp_path / "cache"}
    path = huggingface_hub.hf_hub_download("porestar/oadg_tiny_16", "model.pt", **cached)
    hub.is_down = True
    result = install("porestar/oadg_tiny_16")
    assert (result.from_cache, result.model_id) == (True, model.model_id)
    assert install(source=path, name="Mine").model_id == model.model_id


def test_a_checkpoint_of_this_computer_is_installed(hub, install, checkpoint, model):
    assert install(source=str(checkpoint)).model_id == model.model_id
    assert install(source=str(checkpoint.parent), name="Mine").name == "Mine"
    assert {path.name for path in install.folder.glob("*.safetensors")} == {
        "Mine.safetensors",
        "oadg_tiny_16.safetensors",
    }
    elsewhere = checkpoint.parent.with_name("elsewhere")
    checkpoint.parent.rename(elsewhere)
    with pytest.raises(JobError, match="told neither by its weights nor by its place"):
        install(source=str(elsewhere), name="Unknown")
    assert install(source=str(elsewhere), name="named_24").name == "named_24"
    assert FaciesModel.load(install.folder / "named_24.safetensors").side == 24
