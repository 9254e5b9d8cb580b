"""The command `make train`: what it learns from, how it goes on, what it shows, tells and publishes."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import importlib
import io
import os
import signal
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from osgeo import gdal

from oadg.core.contract.errors import Cancelled, JobError, TrainingImageError
from oadg.core.model.facies_model import FaciesModel
from oadg.core.model.network_config import NetworkConfig
from oadg.core.model.precision import precision_of
from oadg.core.training import image_examples, image_training, loop, schedules, terminal_training
from oadg.core.training.digits import draw_digits
from oadg.core.training.image_set import ImageSet
from oadg.core.training.public_images import PUBLIC_IMAGES

ROOT = Path(__file__).resolve().parents[2]
SMALL = NetworkConfig(trunk=(8, 8), stream=(8, 8), n_pooled=4, n_evidence=4, n_bottom=1, refiner=8, n_refiner_blocks=1)
STEPS = 6  # with a checkpoint after every second one


@pytest.fixture(autouse=True)
def small_trainings(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(image_training, "NETWORKS", {"base": SMALL})
    monkeypatch.setattr(image_training, "CHECKPOINTS", 3)
    monkeypatch.setattr(image_training, "_LEAST_BETWEEN", 1)
    monkeypatch.setattr(image_training, "_HELD_OUT_BATCHES", 2)
    monkeypatch.setattr(image_training, "_TABLE_BATCHES", 1)
    monkeypatch.setattr(schedules, "N_PARTS", 4)
    monkeypatch.setattr(image_examples, "_BATCH_CELLS", 4000)


@pytest.fixture
def recipes(monkeypatch):
    """Return a module of the recipes by name."""
    monkeypatch.syspath_prepend(str(ROOT / "resources" / "recipes"))
    return importlib.import_module


@pytest.fixture
def command(recipes, monkeypatch):
    module = recipes("train_model")
    monkeypatch.setattr(module, "N_DRAWN", 60)
    monkeypatch.setattr(module, "prepare_process", lambda: None)
    return module


@pytest.fixture
def train(command, tmp_path, caplog):
    """Return the exit status of the command, and the path of its model."""
    caplog.set_level("INFO")

    def run(image, *more, folder="models", steps=STEPS):
        plain = ["--output", str(tmp_path / folder), "--images", str(tmp_path / "images"), "--device", "cpu"]
        status = command.main([str(image), "mine", *plain, "--seed", "5", f"--steps={steps}", *more])
        return status, tmp_path / folder / "mine.safetensors"

    return run


def stripes(shape=(70, 90)):
    """Return the codes of three facies, in order from west to east."""
    return np.repeat(np.array([4, 9, 2])[np.arange(shape[1]) // 6 % 3][None], shape[0], axis=0)


@pytest.fixture
def array(tmp_path):
    np.save(tmp_path / "stripes.npy", stripes())
    return tmp_path / "stripes.npy"


def weights_of(path):
    return FaciesModel.load(path).network.state_dict()


def interrupt_at(monkeypatch, n_steps, number=signal.SIGINT):
    """Let a signal arrive while a step of this run is computed."""
    left, take_step = [n_steps], loop._Run.take_step

    def interrupted(run, examples):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), number)
        return take_step(run, examples)

    monkeypatch.setattr(loop._Run, "take_step", interrupted)


def test_an_array_makes_a_model(train, array, caplog):
    status, path = train(array, "--symmetry", "flips", "--origin", "by hand", "--licence", "CC-BY-4.0")
    assert status == 0, caplog.text
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    model = FaciesModel.load(path)
    assert (model.name, model.facies.codes.tolist(), model.licence) == ("mine", [2, 4, 9], "CC-BY-4.0")
    assert model.provenance["learnt_from"] == "by hand"
    assert model.provenance["image"]["symmetry"] == "flips"
    assert model.provenance["recipe"]["precision"] == "auto"
    assert model.provenance["precision"] == precision_of(model.network, torch.device("cpu"))
    assert f"{model.provenance['scores']['held_out_bits']:.4f} bits per held-out cell" in caplog.text
    assert "by hand: 70 x 90 cells; 2 33.3%" in caplog.text
    assert train(array)[0] == 1
    assert "There is a model" in caplog.text


def test_a_refiner_goes_on_alone(train, array, caplog):
    _, first = train(array)
    status, second = train(array, "--start", str(first), "--refiner-only", "--levels-apart", folder="second")
    assert status == 0, caplog.text
    before, after = weights_of(first), weights_of(second)
    assert {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])} == {"refiner"}
    assert train(array, "--refiner-only", folder="third") == (1, second.parents[1] / "third" / "mine.safetensors")
    assert "Only the refiner is to learn, but the model to start from, universal, is not a model" in caplog.text


@pytest.mark.parametrize(("precision", "number"), [("bfloat16", signal.SIGINT), ("float16", signal.SIGTERM)])
def test_interrupted_and_gone_on_with_it_gives_the_same_model(train, monkeypatch, tmp_path, caplog, precision, number):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    how = ("--precision", precision, "--track", "tensorboard")
    status, whole = train("digits", *how, folder="whole")
    assert status == 0, caplog.text
    with monkeypatch.context() as patched:
        interrupt_at(patched, 3, number)
        status, parts = train("digits", *how, folder="parts")
        assert status == 130
        assert "interrupted; the same command goes on" in caplog.text
    assert signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL)
    assert train("digits", *how, folder="parts")[0] == 0
    first, second = weights_of(whole), weights_of(parts)
    assert all(torch.equal(first[key], second[key]) for key in first)
    for folder in ("whole", "parts"):
        (run,) = (tmp_path / folder / "tracking").iterdir()
        events = accumulator.EventAccumulator(str(run))
        events.Reload()
        assert [event.step for event in events.Scalars("held_out_bits")] == [2, 4, 6]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_a_bar(train, array, monkeypatch, caplog):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert train(array)[0] == 0
    shown = terminal.getvalue().replace("\r", "\n").splitlines()
    assert any("100 % |" in line for line in shown)
    assert any(" 79 % |" in line and "held-out bits per cell" in line for line in shown)
    assert "Learning" not in caplog.text


def test_a_bar_goes_on_where_the_training_does(train, array, monkeypatch):
    with monkeypatch.context() as patched:
        interrupt_at(patched, 4)
        assert train(array)[0] == 130
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert train(array)[0] == 0
    shares = [
        int(line.split(" %")[0]) for line in terminal.getvalue().replace("\r", "\n").splitlines() if " % |" in line
    ]
    shares = [share for share in dict.fromkeys(shares) if share]
    assert shares[:2] == [79, 95]  # of what was learnt before the interruption nothing is shown again
    assert shares[-1] == 100
    assert shares == sorted(shares)


def test_elsewhere_the_log_tells(train, array, capfd, caplog):
    assert train(array)[0] == 0
    assert " % |" not in capfd.readouterr().err
    assert "Learning, 6 steps" in caplog.text
    assert "held-out bits per cell" in caplog.text


def test_a_second_interrupt_ends_at_once():
    with terminal_training._interruptible() as check:
        check()
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Cancelled, match="interrupted; the same command goes on"):
            check()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def read(command, tmp_path, name, **options):
    return command.read_image(str(name), folder=tmp_path / "images", **options)


def write_picture(path, codes):
    dataset = gdal.GetDriverByName("MEM").Create("", codes.shape[1], codes.shape[0], 1, gdal.GDT_Byte)
    dataset.GetRasterBand(1).WriteArray(codes.astype(np.uint8))
    gdal.GetDriverByName({".png": "PNG", ".tif": "GTiff"}[path.suffix]).CreateCopy(str(path), dataset)


def test_a_raster_is_read(command, tmp_path):
    write_picture(tmp_path / "map.tif", stripes())
    image, licence = read(command, tmp_path, tmp_path / "map.tif", symmetry="flips")
    assert np.array_equal(image.facies.codes[image.class_index], stripes())
    assert (image.symmetry, image.origin, licence) == ("flips", "map.tif", "LicenseRef-unknown")


@pytest.fixture
def channels(monkeypatch, tmp_path):
    """A small picture in the place of the public one, whose address is that of nobody."""
    write_picture(tmp_path / "small.png", 255 * (stripes() == 4))
    content = (tmp_path / "small.png").read_bytes()
    image = dataclasses.replace(
        PUBLIC_IMAGES["channels"], url="http://127.0.0.1:9/ti.png", sha256=hashlib.sha256(content).hexdigest()
    )
    monkeypatch.setitem(PUBLIC_IMAGES, "channels", image)
    return tmp_path / "small.png"


def test_the_channels_are_known_by_name_and_by_their_checksum(command, tmp_path, channels):
    with pytest.raises(JobError, match="http://127.0.0.1:9/ti.png cannot be reached"):
        read(command, tmp_path, "channels")
    fetched = tmp_path / "images" / "channels.png"
    fetched.parent.mkdir(exist_ok=True)
    fetched.write_bytes(channels.read_bytes())
    for name in ("channels", channels):
        image, licence = read(command, tmp_path, name)
        assert image.facies.names == ["background", "channel"]
        assert np.array_equal(image.class_index, stripes() == 4)
        assert (image.symmetry, licence) == ("half turn", "MIT")
        assert "elaloy/gan_for_gradient_based_inv" in image.origin
    assert read(command, tmp_path, "channels", symmetry="none")[0].symmetry == "none"


def test_digits_are_drawn_or_read(command, tmp_path):
    grey = draw_digits(60)
    content = struct.pack(">BBBBIII", 0, 0, 8, 3, *grey.shape) + grey.tobytes()
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(content)
    (tmp_path / "digits.gz").write_bytes(gzip.compress(content))
    drawn, _ = read(command, tmp_path, "digits", seed=4)
    for name in ("t10k-images-idx3-ubyte", "digits.gz"):
        image, _ = read(command, tmp_path, tmp_path / name, seed=4)
        assert isinstance(image, ImageSet)
        assert (image.origin, image.seed) == (name, 4)
        assert np.array_equal(image.class_index, drawn.class_index)


def test_what_cannot_be_read_is_told(command, tmp_path, array, monkeypatch):
    with pytest.raises(TrainingImageError, match=r"There is no file .*none.tif. Give a raster.* digits, or channels"):
        read(command, tmp_path, tmp_path / "none.tif")
    (tmp_path / "bad.npy").write_bytes(b"no array")
    with pytest.raises(
        TrainingImageError, match=r"The file .*bad.npy cannot be read as an array of codes: .* Choose another"
    ):
        read(command, tmp_path, tmp_path / "bad.npy")
    np.save(tmp_path / "words.npy", np.full((70, 70), "sand"))
    with pytest.raises(TrainingImageError, match=r"words.npy cannot be read as an array of codes: .*not supported"):
        read(command, tmp_path, tmp_path / "words.npy")
    np.save(tmp_path / "cube.npy", np.zeros((70, 70, 70)))
    with pytest.raises(TrainingImageError, match="has rows and columns, and no more"):
        read(command, tmp_path, tmp_path / "cube.npy")
    (tmp_path / "bad-idx3-ubyte").write_bytes(b"no digits")
    with pytest.raises(TrainingImageError, match="is no idx file"):
        read(command, tmp_path, tmp_path / "bad-idx3-ubyte")
    (tmp_path / "map.tif").write_bytes(b"no raster")
    with pytest.raises(TrainingImageError, match="cannot be read as a raster"):
        read(command, tmp_path, tmp_path / "map.tif")
    monkeypatch.setitem(sys.modules, "oadg.oadg_qgis.categorical_rasters", None)
    monkeypatch.delattr(sys.modules["oadg.oadg_qgis"], "categorical_rasters", raising=False)
    with pytest.raises(
        JobError, match=r"read by GDAL, whose Python module cannot be imported.* save the image as .npy"
    ):
        read(command, tmp_path, tmp_path / "map.tif")
    assert read(command, tmp_path, array)[0].shape == (70, 90), "arrays do without GDAL"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--publish", "https://hub/mine"), "cannot be a repository of the hub"),
        (("--learning-rate", "2"), "The learning rate is 2"),
        (("--device", "abacus"), "The device 'abacus' is unknown"),
        (("--start", "none.safetensors"), "There is no model file none.safetensors"),
    ],
)
def test_what_cannot_be_is_told_before_training(train, array, caplog, more, message):
    status, path = train(array, *more)
    assert status == 1
    assert message in caplog.text
    assert not path.parent.exists() or not list(path.parent.iterdir())


def test_a_name_that_cannot_be_a_files_is_refused(command, array, caplog):
    assert command.main([str(array), "a/b"]) == 1
    assert "The name 'a/b' cannot be that of a file" in caplog.text


def test_a_missing_tracker_is_told_before_training(train, array, caplog, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    status, path = train(array, "--track", "tensorboard")
    assert status == 1
    assert "pip install tensorboard" in caplog.text
    assert not path.parent.exists()


def test_a_model_is_published_at_the_end(train, hub, monkeypatch, caplog):
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    status, path = train("digits", "--publish", "geo/digits", "--private")
    assert status == 0, caplog.text
    files = hub.main("geo/digits")
    assert files[path.name] == path.read_bytes()
    assert "60 images of 32 rows x 32 columns" in files["README.md"].decode()
    assert files["example.png"].startswith(b"\x89PNG")
    assert hub.private["geo/digits"] == "hf_mine"
    assert f"Published: {hub.address}/geo/digits/commit/" in caplog.text


def test_a_shipped_model_is_trained_likewise(recipes, tmp_path, monkeypatch):
    module = recipes("shipped_models")
    monkeypatch.setattr(module, "prepare_process", lambda: None)
    monkeypatch.setattr(module.torch, "set_num_threads", lambda n: None)
    np.save(tmp_path / "delta.npy", stripes((70, 90)) // 4)
    path = tmp_path / "delta.safetensors"
    arguments = ["shipped_models.py", "delta", str(tmp_path / "delta.npy"), "--output", str(path), "--steps", "2"]
    monkeypatch.setattr(sys, "argv", arguments)
    module.main()
    model = FaciesModel.load(path)
    assert (model.name, model.facies.names, model.licence) == ("delta", ["channel", "plain", "lake"], "GPL-3.0-only")
    assert model.provenance["recipe"]["seed"] == module.RECIPES["delta"].stages[-1].seed
    n_weights = sum(value.numel() for value in model.network.state_dict().values())
    assert path.stat().st_size < 2.2 * n_weights + 20_000, "as 16-bit numbers"


def test_a_shipped_model_is_trained_in_stages(recipes, tmp_path, monkeypatch):
    module = recipes("shipped_models")
    monkeypatch.setattr(module, "prepare_process", lambda: None)
    monkeypatch.setattr(module.torch, "set_num_threads", lambda n: None)
    stages = (module.Stage(2), module.Stage(3, learning_rate=1e-3, refiner_only=True, levels_apart=True, seed=7))
    monkeypatch.setitem(module.RECIPES, "delta", dataclasses.replace(module.RECIPES["delta"], stages=stages))
    trained = []

    def train_on(image, **asked):
        trained.append((asked["start_path"], asked["model_path"]))
        return train(image, **asked)

    train = module.train_on
    monkeypatch.setattr(module, "train_on", train_on)
    np.save(tmp_path / "delta.npy", stripes((70, 90)) // 4)
    path, first = tmp_path / "delta.safetensors", tmp_path / "delta-1.safetensors"
    monkeypatch.setattr(sys, "argv", ["shipped_models.py", "delta", str(tmp_path / "delta.npy"), "--output", str(path)])
    module.main()
    assert trained == [(str(module.MODELS / "universal.safetensors"), str(first)), (str(first), str(path))]
    recipe = FaciesModel.load(path).provenance["recipe"]
    asked = ("steps", "learning_rate", "refiner_only", "levels_apart", "seed")
    assert [recipe[key] for key in asked] == [3, 1e-3, True, True, 7]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["delta.npy", path.name]


def test_the_recipe_of_the_channels_learns_what_is_not_for_judging(recipes, tmp_path):
    codes = np.zeros((1600, 1700))
    codes[::3], codes[1550:], codes[:, 1550:] = 255, 0, 0
    write_picture(tmp_path / "ti.png", codes)
    recipe = recipes("shipped_models").RECIPES["channels"]
    image = recipe.image(tmp_path / "ti.png")
    assert image.shape == (1550, 1550)
    assert image.proportions[1] == pytest.approx(1 / 3, abs=1e-3)
    assert image.facies.to_list() == [
        {"code": 0, "name": "background", "color": "#f0e2b6"},
        {"code": 1, "name": "channel", "color": "#2f6690"},
    ]
    assert (image.symmetry, recipe.licence) == ("half turn", "MIT")
    assert image.origin == (
        "Sinuous channels, 2500 x 2500 cells (elaloy/gan_for_gradient_based_inv, training/ti/ti.png, MIT), rows and "
        "columns 0 to 1549"
    )
