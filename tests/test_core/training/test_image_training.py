"""A training from job to model file: resumed, cancelled, stopped early, refused; and the network that it trains."""

import dataclasses
import itertools
import json
import math
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oadg.core.contract.errors import Cancelled, DeviceError, FaciesError, JobError, TrainingImageError
from oadg.core.contract.facies import build_facies_table
from oadg.core.contract.training_job import (
    MAX_STEPS,
    MAX_WORKERS,
    PRECISIONS,
    SIZES,
    TrainingJob,
    TrainingResult,
    checkpoint_folder,
)
from oadg.core.hub.model_card import draw_example, model_card
from oadg.core.machine import lock
from oadg.core.machine.lock import alone
from oadg.core.model.facies_model import FaciesModel
from oadg.core.model.lattice import Lattice
from oadg.core.model.network import FaciesNetwork
from oadg.core.model.network_config import NetworkConfig
from oadg.core.sampling.sampler import sample
from oadg.core.sampling.start import Start
from oadg.core.sampling.visits import draw_stream
from oadg.core.training import (
    asking,
    balance,
    corrections,
    image_examples,
    image_training,
    loop,
    schedules,
    train_universal,
)
from oadg.core.training.digits import digit_set, draw_digits
from oadg.core.training.image_training import run_training
from oadg.core.training.warm_start import start_from

NETWORKS = dict(image_training.NETWORKS)  # as they are shipped
SMALL = NetworkConfig(trunk=(8, 8), stream=(8, 8), n_pooled=4, n_evidence=4, n_bottom=1)
START = dataclasses.replace(SMALL, reads_kriging=True, n_levels=2)
STEPS = 6  # with a checkpoint after every second one


@pytest.fixture(autouse=True)
def small_trainings(monkeypatch):
    small = dataclasses.replace(SMALL, refiner=8, n_refiner_blocks=1)
    monkeypatch.setattr(image_training, "NETWORKS", {"small": small, "base": dataclasses.replace(small, n_bottom=2)})
    monkeypatch.setattr(image_training, "CHECKPOINTS", 3)
    monkeypatch.setattr(image_training, "_LEAST_BETWEEN", 1)
    monkeypatch.setattr(image_training, "_HELD_OUT_BATCHES", 2)
    monkeypatch.setattr(image_training, "_TABLE_BATCHES", 1)
    monkeypatch.setattr(schedules, "N_PARTS", 8)
    monkeypatch.setattr(image_examples, "_BATCH_CELLS", 4000)
    monkeypatch.setattr(asking, "_N_SURVEYS", 3)
    monkeypatch.setattr(balance, "_N_MAPS", 4)
    monkeypatch.setattr(balance, "_SIDE_CELLS", 64)
    monkeypatch.setattr(corrections, "_N_MAPS", 4)
    monkeypatch.setattr(corrections, "_SIDE_CELLS", 64)


def stripes(shape=(70, 90)):
    """Return the class indices of three facies, in order from west to east."""
    return np.repeat(np.arange(shape[1])[None] // 6 % 3, shape[0], axis=0).astype(np.int16)


def random_network(config, seed=3):
    """Return a network whose weights are random everywhere, also where training starts from zero."""
    torch.manual_seed(seed)
    network = FaciesNetwork(config)
    for name, parameter in network.named_parameters():
        if name.startswith(("head", "of_level", "of_class", "trust")):
            torch.nn.init.normal_(parameter, std=0.3)
    return network.eval().requires_grad_(False)


@pytest.fixture
def make_job(tmp_path):
    """Return a job in a folder of its own, but for what is changed."""
    np.save(tmp_path / "image.npy", stripes())
    FaciesModel("start", random_network(START)).save(tmp_path / "start.safetensors")

    def make(folder="models", **changes):
        (tmp_path / folder).mkdir(exist_ok=True)
        plain = {
            "image_path": str(tmp_path / "image.npy"),
            "facies": build_facies_table([311, -1, 7], {7: ("Sand", "#112233")}),
            "model_path": str(tmp_path / folder / "stripes.safetensors"),
            "start_path": str(tmp_path / "start.safetensors"),
            "work_folder": str(tmp_path),
            "name": "stripes",
            "size": "small",
            "steps": STEPS,
            "seed": 5,
            "device": "cpu",
        }
        return TrainingJob(**{**plain, **changes})

    return make


def never_cancel(fraction, text):
    pass


def cancel_after(n_steps):
    """Return a progress that cancels when so many steps of this run are done."""
    left = [n_steps]

    def progress(fraction, text):
        left[0] -= 1
        if left[0] == 0:
            raise Cancelled("The training was cancelled.")

    return progress


def weights_of(job):
    return FaciesModel.load(Path(job.model_path)).network.state_dict()


def assert_same_weights(first, second):
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


def test_a_refiner_goes_on_alone(make_job):
    first = make_job()
    run_training(first, never_cancel)
    second = make_job("alone", start_path=first.model_path, refiner_only=True, seed=6)
    run_training(second, never_cancel)
    before, after = weights_of(first), weights_of(second)
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved
    assert all(key.startswith("refiner.") for key in moved)


def test_levels_go_on_apart_from_the_refiner_of_all(make_job, tmp_path):
    np.save(tmp_path / "image.npy", stripes((140, 180)))  # of which 35 x 45 cells are held out: for two lattices
    first = make_job()
    run_training(first, never_cancel)
    second = make_job("apart", start_path=first.model_path, refiner_only=True, levels_apart=True, steps=12, seed=6)
    run_training(second, never_cancel)
    before, model = weights_of(first), FaciesModel.load(Path(second.model_path))
    assert (model.network.config.n_levels, model.network.config.n_refiners) == (3, 2)
    moved = {
        ".".join(key.split(".")[:2]) for key, v in weights_of(second).items() if not torch.equal(v, before.get(key, v))
    }
    assert moved
    assert all(key.startswith("refiner.") for key in moved)
    own = {key.split(".", 2)[2]: v for key, v in weights_of(second).items() if key.startswith("coarser_refiners.0.")}
    assert any(not torch.equal(v, before[f"refiner.{key}"]) for key, v in own.items())
    assert model.provenance["recipe"]["levels_apart"]
    with pytest.raises(JobError, match="keep its levels apart if they are"):
        run_training(make_job("together", start_path=second.model_path, refiner_only=True), never_cancel)


def test_a_training_makes_a_model_of_the_image_and_leaves_nothing_else(make_job):
    job = make_job(cell_size=12.5, origin="by hand", licence="CC-BY-4.0", symmetry="flips")
    result = run_training(job, never_cancel)
    path = Path(job.model_path)
    assert [file.name for file in path.parent.iterdir()] == [path.name], "neither checkpoint nor half a file"
    model = FaciesModel.load(path)
    assert (model.name, model.facies, model.max_facies) == ("stripes", job.facies, 3)
    assert (model.cell_size, model.licence) == (12.5, "CC-BY-4.0")
    config = model.network.config
    assert (config.n_classes, config.reads_kriging) == (3, False)
    assert config.n_levels == 2, "an image of 70 rows holds two dozen nodes two cells apart"
    assert (result.model_path, result.model_id, result.device) == (job.model_path, model.model_id, "cpu")
    assert (result.steps, result.stopped_early) == (STEPS, False)
    assert result.seconds > 0
    told = model.provenance
    assert told["learnt_from"] == "by hand"
    assert told["started_from"] == FaciesModel.load(Path(job.start_path)).model_id
    assert told["image"]["symmetry"] == "flips"
    assert (told["image"]["n_rows"], told["image"]["n_cols"]) == (70, 90)
    assert told["image"]["proportions"] == pytest.approx([1 / 3] * 3, abs=0.05)
    assert told["scores"]["held_out_bits"] == result.held_out_bits
    assert told["scores"]["best_step"] == result.best_step


def test_progress_is_told_after_each_step(make_job):
    told = []
    run_training(make_job(), lambda fraction, text: told.append((fraction, text)))
    assert [fraction for fraction, _ in told][:STEPS] == pytest.approx([0.95 * k / STEPS for k in range(1, STEPS + 1)])
    assert told[0][1] == "Learning, 6 steps"
    assert "held-out bits per cell" in told[2][1], "from the first checkpoint on"
    assert told[2][1].endswith("left to learn"), "measuring follows, which takes minutes, too"


@pytest.mark.parametrize("n_steps", [1, 2, 3, STEPS, STEPS + 1])
def test_a_cancelled_training_and_its_resumption_give_the_weights_of_one_that_was_not(make_job, n_steps):
    whole, parts = make_job("whole"), make_job("parts")
    run_training(whole, never_cancel)
    with pytest.raises(Cancelled, match="The training was cancelled"):
        run_training(parts, cancel_after(n_steps))
    folder = checkpoint_folder(Path(parts.model_path))
    assert (folder / "checkpoint.pt").exists(), "it is kept, to go on from"
    assert Path(parts.model_path).exists() == (n_steps >= 2), "the best model so far is in place after a checkpoint"
    steps = []
    result = run_training(parts, lambda fraction, text: steps.append(round(fraction * STEPS)))
    still_to_do = list(range(n_steps + 1, STEPS + 1))
    assert steps[: len(still_to_do)] == still_to_do
    assert result.steps == STEPS
    assert not folder.exists()
    assert_same_weights(weights_of(whole), weights_of(parts))


def test_a_training_that_is_cancelled_again_and_again_comes_to_the_same_end(make_job):
    whole, parts = make_job("whole"), make_job("parts")
    run_training(whole, never_cancel)
    for _ in range(STEPS):
        with pytest.raises(Cancelled):
            run_training(parts, cancel_after(1))
    assert run_training(parts, never_cancel).steps == STEPS
    assert_same_weights(weights_of(whole), weights_of(parts))


def test_the_model_of_a_cancelled_training_can_be_used(make_job):
    job = make_job()
    with pytest.raises(Cancelled):
        run_training(job, cancel_after(3))
    model = FaciesModel.load(Path(job.model_path))
    model.check_takes(job.facies)
    assert model.provenance["steps_done"] == 2


def test_the_seed_decides_on_the_weights(make_job):
    jobs = [make_job("first"), make_job("again"), make_job("other", seed=6)]
    ids = [run_training(job, never_cancel).model_id for job in jobs]
    assert ids[0] == ids[1] != ids[2]


def test_training_starts_from_the_weights_of_the_start_model(make_job):
    """Where hardly a step moves them they stay as they are."""
    job = make_job(learning_rate=1e-9)
    run_training(job, never_cancel)
    weights, start = weights_of(job), random_network(START).state_dict()
    assert not (weights["of_class"].abs() > 1e-6).any()
    for name in ("head.weight", "bottom.0.look.weight", "of_level"):
        assert start[name].any()
        assert torch.allclose(weights[name], start[name], atol=1e-6), name


def held_out_losses(monkeypatch, losses):
    """Let the held-out losses be these, one after the other, whatever the network."""
    left = iter(losses)
    monkeypatch.setattr(image_training, "path_nats", lambda *_: {"": next(left)})


def test_training_stops_when_the_held_out_loss_does_not_fall_and_keeps_the_best(make_job, monkeypatch, tmp_path):
    monkeypatch.setattr(image_training, "PATIENCE", 2)
    monkeypatch.setattr(image_training, "CHECKPOINTS", 6)
    held_out_losses(monkeypatch, [1.0, 0.5, 0.7, 0.6, 0.56])
    job, best = make_job(steps=12), tmp_path / "best.safetensors"

    def keep_the_one_of_step_4(fraction, text):
        if round(fraction * 12) == 5:
            shutil.copy(job.model_path, best)

    result = run_training(job, keep_the_one_of_step_4)
    assert (result.steps, result.best_step, result.stopped_early) == (10, 4, True), "patience begins half way"
    assert result.held_out_bits == pytest.approx(0.5 / math.log(2))
    assert_same_weights(weights_of(job), FaciesModel.load(best).network.state_dict())
    assert not checkpoint_folder(Path(job.model_path)).exists()


def test_training_goes_on_while_the_held_out_loss_falls(make_job, monkeypatch):
    monkeypatch.setattr(image_training, "PATIENCE", 1)
    held_out_losses(monkeypatch, [1.0, 0.9, 0.8])
    result = run_training(make_job(), never_cancel)
    assert (result.steps, result.best_step, result.stopped_early) == (STEPS, STEPS, False)
    assert result.lowest_step == STEPS


def test_the_last_weights_are_kept_if_their_loss_is_about_the_lowest(make_job, monkeypatch):
    """Their learning rate is lowest, and losses waver."""
    monkeypatch.setattr(image_training, "PATIENCE", 1)
    held_out_losses(monkeypatch, [1.0, 0.8, 0.85])
    result = run_training(make_job(), never_cancel)
    assert (result.steps, result.best_step, result.stopped_early) == (STEPS, STEPS, False)
    assert result.lowest_step == 4
    assert result.held_out_bits == pytest.approx(0.85 / math.log(2)), "of what is kept"


def test_what_was_best_before_a_cancel_stays_the_best(make_job, monkeypatch):
    job = make_job()
    held_out_losses(monkeypatch, [0.5, 0.9, 0.8])
    with pytest.raises(Cancelled):
        run_training(job, cancel_after(3))
    kept = weights_of(job)
    result = run_training(job, never_cancel)
    assert (result.steps, result.best_step) == (STEPS, 2)
    assert_same_weights(weights_of(job), kept)


def test_the_best_refiner_is_kept_apart_from_the_best_of_the_others(make_job, monkeypatch):
    job = make_job()
    left = iter([{"refiner.": 0.3, "": 0.5}, {"refiner.": 0.2, "": 0.9}, {"refiner.": 0.6, "": 0.7}])
    average = {}

    def judge(network, *_):
        average[len(average)] = {k: v.clone() for k, v in network.state_dict().items()}
        return next(left)

    monkeypatch.setattr(image_training, "path_nats", judge)
    result = run_training(job, never_cancel)
    assert result.held_out_bits == pytest.approx((0.2 + 0.5) / math.log(2))
    assert (result.steps, result.best_step) == (STEPS, 4)
    of_refiner = [name for name in average[0] if name.startswith("refiner.")]
    assert of_refiner
    assert_same_weights(weights_of(job), {**average[0], **{name: average[1][name] for name in of_refiner}})


def test_it_learns(make_job):
    """At first no facies is more likely than another, and stripes are not hard to learn."""
    result = run_training(make_job(steps=120), never_cancel)
    assert result.held_out_bits < 0.85 * math.log2(3)


def begin(job):
    with pytest.raises(Cancelled):
        run_training(job, cancel_after(1))


def test_a_training_begun_with_another_image_is_refused(make_job, tmp_path):
    begin(make_job())
    np.save(tmp_path / "other.npy", stripes()[::-1, ::-1])
    message = r"begun in .*stripes\.training is of another image, or of another symmetry. Choose another name"
    with pytest.raises(JobError, match=message):
        run_training(make_job(image_path=str(tmp_path / "other.npy")), never_cancel)
    with pytest.raises(JobError, match=message):
        run_training(make_job(symmetry="half turn"), never_cancel)
    assert run_training(make_job(), never_cancel).steps == STEPS, "the one that was begun can still go on"


@pytest.mark.parametrize("file", ["checkpoint.pt", "training.json"])
def test_what_is_left_of_a_training_may_be_damaged(make_job, file):
    job = make_job()
    begin(job)
    path = checkpoint_folder(Path(job.model_path)) / file
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(JobError, match="cannot be read.*Delete .*folder to begin anew"):
        run_training(job, never_cancel)


def test_no_temporary_folder_stays_when_it_is_cancelled_while_steps_are_timed(make_job, tmp_path):
    def cancel(fraction, text):
        if text == "Measuring how long a step takes" and next(told) > 3:
            raise Cancelled("The run was cancelled.")

    told, work = itertools.count(), tmp_path / "work"
    work.mkdir()
    with pytest.raises(Cancelled):
        run_training(make_job(steps=None, minutes=1.0, work_folder=str(work)), cancel)
    assert list(work.iterdir()) == []


def cancel_when_learning(fraction, text):
    """Cancel at the first checkpoint."""
    if "held-out bits" in text:
        raise Cancelled("The training was cancelled.")


@pytest.mark.parametrize("changes", [{"seed": 6}, {"size": "base"}])
def test_a_training_begun_in_another_way_is_refused(make_job, changes):
    begin(make_job())
    ((name, asked),) = changes.items()
    with pytest.raises(JobError, match=f"has the {name} (5|small), and {asked} is asked for now. Ask for"):
        run_training(make_job(**changes), never_cancel)


@pytest.mark.parametrize(
    ("changes", "fewest", "size"),
    [
        ({"minutes": 0.02}, 10**9, "small"),
        ({"minutes": 0.02}, 1, "base"),
        ({"steps": STEPS}, 10**9, "base"),
        ({"minutes": 0.02, "size": "base"}, 10**9, "base"),
    ],
    ids=["short", "long", "in steps", "asked for"],
)
def test_the_network_is_small_where_the_time_is_too_short_for_more(make_job, monkeypatch, changes, fewest, size):
    monkeypatch.setattr(image_training, "_FEWEST_OF_BASE", fewest)
    result = run_training(make_job(**{"size": SIZES[0], "steps": None, **changes}), never_cancel)
    model = FaciesModel.load(Path(result.model_path))
    assert model.provenance["recipe"]["size"] == size
    assert model.network.config.n_bottom == image_training.NETWORKS[size].n_bottom


def test_a_training_goes_on_in_the_size_that_it_took(make_job, monkeypatch):
    """Though now there were time for more; another size that is asked for is refused."""
    monkeypatch.setattr(image_training, "_FEWEST_OF_BASE", 10**9)
    job = make_job(size=SIZES[0], steps=None, minutes=0.02)
    with pytest.raises(Cancelled):
        run_training(job, cancel_when_learning)
    monkeypatch.setattr(image_training, "_FEWEST_OF_BASE", 1)
    with pytest.raises(JobError, match="has the size small, and base is asked for now"):
        run_training(dataclasses.replace(job, size="base"), never_cancel)
    result = run_training(job, never_cancel)
    assert FaciesModel.load(Path(result.model_path)).provenance["recipe"]["size"] == "small"


def test_two_trainings_of_one_name_at_once(make_job, tmp_path, monkeypatch):
    """A lock of the same process keeps out as well as that of another one."""
    monkeypatch.setattr(lock, "PATIENCE_S", 0.0)
    job, models = make_job(), tmp_path / "models"
    refused = pytest.raises(JobError, match=r"is being trained already, .* or choose another name")
    with alone(models / "stripes.training.lock", ""), refused:
        run_training(job, never_cancel)
    assert list(models.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(make_job, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(JobError, match=r"m\.training.* cannot be written: .* Choose a folder in which you may"):
        run_training(make_job(model_path=str(tmp_path / "file" / "m.safetensors")), never_cancel)


def test_jobs_that_the_engine_cannot_carry_out(make_job, tmp_path):
    with pytest.raises(DeviceError, match="The device 'abacus' is unknown"):
        run_training(make_job(device="abacus"), never_cancel)
    with pytest.raises(TrainingImageError, match="The symmetry 'some' is unknown"):
        run_training(make_job(symmetry="some"), never_cancel)
    np.save(tmp_path / "image.npy", stripes((63, 90)))
    with pytest.raises(TrainingImageError, match="has 63 x 90 cells; it needs at least 64 x 64"):
        run_training(make_job(), never_cancel)
    assert not list(tmp_path.rglob("*.training")), "nothing was begun"


def test_the_time_a_training_may_take_decides_on_its_length(make_job, monkeypatch):
    """A step takes half a second here, but for the first one, which does not count; a judgement a second, or two."""
    timed, told, clock, of_judgement = [], [], itertools.count(), 1

    def train(shape, config, examples, folder, **_):
        timed.append(config.steps)
        return None, {"seconds": 3.0 + 0.5 * (config.steps - 1)}

    monkeypatch.setattr(image_training, "train", train)
    monkeypatch.setattr(image_training.time, "monotonic", lambda: of_judgement * next(clock))
    monkeypatch.setattr(image_training, "CHECKPOINTS", 40)
    monkeypatch.setattr(image_training, "_LEAST_BETWEEN", 20)

    def steps_in(minutes):
        how = make_job(steps=None, minutes=minutes), SMALL, None, lambda _: {}, torch.device("cpu")
        return image_training._steps_in(*how, lambda *step: told.append(step))

    assert steps_in(1.1) == pytest.approx(120, abs=1), "60 seconds for steps, 6 for as many judgements"
    assert steps_in(30.0) == pytest.approx(3600 - 80, abs=1), "40 judgements"
    of_judgement = 2
    assert steps_in(1.2) == pytest.approx(120, abs=1), "60 seconds for steps, 12 for 6 judgements"
    assert steps_in(0.01) == image_training._FEWEST_STEPS
    assert timed == [1, image_training._TIMED_STEPS + 1] * 4
    assert told == [(0.0, "Measuring how long a step takes")] * 4


def test_a_training_of_some_time_goes_on_with_the_length_that_it_began_with(make_job, monkeypatch):
    monkeypatch.setattr(loop, "_LATE", math.inf)  # the time is not up
    lengths = iter([STEPS])
    monkeypatch.setattr(image_training, "_steps_in", lambda *_: next(lengths))
    job, whole = make_job(steps=None), make_job("whole")
    begin(job)
    assert run_training(job, never_cancel).steps == STEPS
    run_training(whole, never_cancel)
    assert_same_weights(weights_of(job), weights_of(whole))


def test_a_training_that_is_cancelled_while_steps_are_timed_leaves_nothing(make_job):
    job = make_job(steps=None)
    with pytest.raises(Cancelled):
        run_training(job, cancel_after(1))
    assert not list(Path(job.model_path).parent.iterdir())


def test_a_training_of_no_time_at_all_takes_the_fewest_steps(make_job, monkeypatch):
    monkeypatch.setattr(image_training, "_FEWEST_STEPS", 4)
    monkeypatch.setattr(image_training, "_LEAST_BETWEEN", 80)
    told = []
    result = run_training(make_job(steps=None, minutes=1e-9), lambda fraction, text: told.append(text))
    assert result.steps == 4
    assert told[0] == "Measuring how long a step takes"


def test_what_is_measured_in_the_end_is_told_step_by_step(make_job):
    told = []
    run_training(make_job(), lambda fraction, text: told.append((fraction, text)))
    assert told == sorted(told, key=lambda line: line[0])
    measured = dict.fromkeys(text.split(":")[0] for _, text in told if "Measuring, " in text)
    steps = [f"Measuring, {number} of 5" for number in range(1, 6)]
    assert list(measured) == [step for step in steps if step in measured]
    assert {steps[0], steps[2]} <= set(measured)  # of so small an image nothing is drawn anew on coarse lattices


def test_workers_draw_the_same(make_job):
    first, second = make_job("here"), make_job("ahead", workers=1)
    for job in (first, second):
        run_training(job, never_cancel)
    assert_same_weights(weights_of(first), weights_of(second))


def test_a_run_is_followed_under_one_name_also_when_it_goes_on(make_job):
    told, lines = [], []

    def track(run, settings):
        told.append((run, settings))
        return lines.append

    job = make_job(precision="float16")
    with pytest.raises(Cancelled):
        run_training(job, cancel_after(3), track=track)
    run_training(job, never_cancel, track=track)
    (run, settings), again = told
    assert again == (run, settings)
    assert run.startswith("stripes-20")
    assert (settings["name"], settings["steps"], settings["precision"]) == ("stripes", STEPS, "float16")
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert all(line["held_out_nats"] > 0 for line in lines)


def test_what_a_tracker_refuses_leaves_nothing(make_job):
    def track(run, settings):
        raise JobError("Nobody may follow.")

    job = make_job()
    with pytest.raises(JobError, match="Nobody may follow"):
        run_training(job, never_cancel, track=track)
    assert not list(Path(job.model_path).parent.iterdir())


@pytest.fixture
def digits_job(make_job, tmp_path):
    """Return a job of a set of images, but for what is changed."""
    digits = digit_set(draw_digits(60), origin="drawn")
    np.save(tmp_path / "digits.npy", digits.class_index)

    def make(folder="models", **changes):
        return make_job(folder, image_path=str(tmp_path / "digits.npy"), facies=digits.facies, **changes)

    return make


def test_a_set_of_images_makes_a_model_that_the_sampler_takes(digits_job):
    job = digits_job(steps=20)
    result = run_training(job, never_cancel)
    model = FaciesModel.load(Path(job.model_path))
    assert (model.network.config.n_levels, model.network.config.n_classes) == (1, 2)
    for quality in ("preview", "standard", "fine"):
        schedule = model.schedules[quality]
        n_passes = len(schedule.started) + len(schedule.refined[0])
        assert n_passes > 11, f"{quality}: twice as many as on a lattice of others"
    assert result.held_out_bits == model.provenance["scores"]["held_out_bits"] < 1
    assert model.provenance["image"].items() >= {"n_images": 60, "n_rows": 32, "n_cols": 32}.items()
    known = torch.full((32, 32), -1)
    known[16, 10:20] = torch.arange(10) % 2
    start = Start.of(model, known, 2)
    assert start.shape == (32, 32)
    for quality, schedule in model.schedules.items():
        simulated = sample(model.network, start, [draw_stream(0, number, (32, 32)) for number in range(2)], schedule)
        assert simulated.shape == (2, 32, 32), quality
        assert (simulated[:, 16, 10:20] == known[16, 10:20]).all(), quality
        assert set(simulated.unique().tolist()) == {0, 1}
    picture = draw_example(model)
    assert struct.unpack(">II", picture[16:24]) == (2 * (3 * 32 + 2 * 4), 2 * 32), "three realizations side by side"
    card = model_card(model, repository="geo/digits", file="digits.safetensors", sha256="0" * 64, has_picture=True)
    assert "| Its size | 60 images of 32 rows x 32 columns |" in card
    assert "Three realizations of 32 x 32 cells without data." in card


def test_a_training_on_a_set_goes_on_with_the_same_images_held_out(digits_job):
    whole, parts = digits_job("whole"), digits_job("parts")
    run_training(whole, never_cancel)
    with pytest.raises(Cancelled):
        run_training(parts, cancel_after(3))
    run_training(parts, never_cancel)
    assert_same_weights(weights_of(whole), weights_of(parts))


def random_input(n_facies, shape=(12, 16), n_data=9):
    generator = torch.Generator().manual_seed(1)
    known = torch.randint(-2, n_facies, (2, *shape), generator=generator).clamp_min(-1)
    position = torch.zeros(2, 2, dtype=torch.int64)
    lattice = Lattice.at(shape, 1, position, 4)
    batch, row, col, facies = (torch.randint(n, (n_data,), generator=generator) for n in (2, *shape, n_facies))
    class_index, inside = lattice.gather(known)
    return class_index, inside, lattice.attach(batch, row, col, facies)


def test_a_network_with_classes_tells_facies_apart():
    """Renumbering them changes what it says, unless their vectors are renumbered too."""
    network = random_network(dataclasses.replace(SMALL, n_classes=3))
    known, inside, data = random_input(3)
    order = torch.tensor([2, 0, 1])
    renumbered = (
        torch.where(known >= 0, order[known.clamp_min(0)], -1),
        inside,
        data._replace(class_index=order[data.class_index]),
    )
    expected = network(known, inside, data, 3)
    assert (network(*renumbered, 3)[:, order] - expected).abs().max() > 0.01
    vectors = network.of_class.clone()
    network.of_class[order] = vectors
    assert torch.allclose(network(*renumbered, 3)[:, order], expected, atol=1e-5)
    network.of_class[:] = vectors[:1]
    alike = network(known, inside, data, 3)
    assert torch.allclose(network(*renumbered, 3)[:, order], alike, atol=1e-5), "alike, they are a set"


def test_where_nothing_is_known_only_classes_make_a_difference():
    none = torch.full((1, 8, 8), -1), torch.ones(1, 8, 8, dtype=torch.bool), random_input(3, n_data=0)[2]
    without = random_network(SMALL)(*none, 3)
    assert torch.allclose(without, without[:, :1].expand_as(without), atol=1e-5)
    told_apart = random_network(dataclasses.replace(SMALL, n_classes=3))(*none, 3)
    assert (told_apart - told_apart[:, :1]).abs().flatten(2).amax(dim=2)[0, 1:].min() > 0.01


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_a_started_network_says_what_the_other_one_does_where_kriging_tells_nothing(level):
    """Levels that the other one does not know are its last, and classes begin alike."""
    other = random_network(START)
    network = random_network(dataclasses.replace(SMALL, n_levels=4), seed=4)
    with_classes = FaciesNetwork(dataclasses.replace(SMALL, n_levels=4, n_classes=3))
    inputs = random_input(3)
    expected = other(*inputs, 3, level=level)
    for started in (network, with_classes):
        assert not torch.allclose(started(*inputs, 3, level=level), expected, atol=1e-2)
        start_from(started, other)
        assert torch.allclose(started(*inputs, 3, level=level), expected, atol=1e-5)
    assert (other(*inputs, 3, level=0) - other(*inputs, 3, level=1)).abs().max() > 0.01, "levels are told apart"


def test_a_start_takes_over_the_common_part_and_leaves_the_rest():
    smaller = random_network(dataclasses.replace(SMALL, trunk=(4, 8)))
    network = random_network(dataclasses.replace(SMALL, n_levels=2, n_classes=3), seed=4)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    start_from(network, smaller)
    after, theirs = network.state_dict(), smaller.state_dict()
    common = theirs["trunk_stem.weight"].shape[0]
    assert torch.equal(after["trunk_stem.weight"][:common], theirs["trunk_stem.weight"])
    assert torch.equal(after["trunk_stem.weight"][common:], before["trunk_stem.weight"][common:])
    assert torch.equal(after["head.weight"], theirs["head.weight"])
    for name in ("of_level", "of_class"):
        assert torch.equal(after[name], before[name]), "the other one has none"


def test_what_the_start_was_not_told_counts_for_nothing_at_first():
    told_less = random_network(dataclasses.replace(SMALL, reads_kriging=True))
    config = dataclasses.replace(SMALL, reads_kriging=True, reads_order=True)
    network = random_network(config, seed=4)
    start_from(network, told_less)
    for name in ("trunk_stem.weight", "stream_stem.weight"):
        theirs, mine = told_less.state_dict()[name], network.state_dict()[name]
        assert torch.equal(mine[:, : theirs.shape[1]], theirs)
        assert (mine[:, theirs.shape[1] :] == 0).all()
        assert mine.shape[1] > theirs.shape[1]


paths = st.text(min_size=1)
jobs = st.builds(
    TrainingJob,
    image_path=paths,
    facies=st.sampled_from([build_facies_table([311, -1]), build_facies_table(["Kies", "Lehm", "Ton"])]),
    model_path=paths,
    start_path=paths,
    work_folder=paths,
    name=paths.filter(str.strip),
    symmetry=st.sampled_from(["none", "rotations"]),
    cell_size=st.none() | st.floats(0.1, 1e6),
    origin=st.text(),
    licence=st.text(),
    size=st.sampled_from(SIZES),
    steps=st.none() | st.integers(1, MAX_STEPS),
    minutes=st.floats(0.001, 1e6),
    precision=st.sampled_from(PRECISIONS),
    workers=st.integers(0, MAX_WORKERS),
    seed=st.integers(0, 2**63 - 1),
    device=st.sampled_from(["auto", "cpu", "cuda:1"]),
)
results = st.builds(
    TrainingResult,
    model_path=paths,
    model_id=paths,
    device=paths,
    held_out_bits=st.floats(0, 5),
    steps=st.integers(1, MAX_STEPS),
    best_step=st.integers(1, MAX_STEPS),
    stopped_early=st.booleans(),
    seconds=st.floats(0, 1e6),
)


@given(jobs)
def test_a_job_survives_one_line_of_json(job):
    line = json.dumps(job.to_dict())
    assert "\n" not in line
    assert TrainingJob.from_dict(json.loads(line)) == job


@given(results)
def test_a_result_survives_one_line_of_json(result):
    line = json.dumps(result.to_dict())
    assert "\n" not in line
    assert TrainingResult.from_dict(json.loads(line)) == result


PLAIN = TrainingJob("work", "i.npy", build_facies_table([311, -1]), "m.safetensors", "s.safetensors", "stripes")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": "huge"}, r"The size 'huge' is unknown; choose one of auto, small, base, large"),
        ({"steps": 0}, r"0 steps are asked for; between 1 and 1,000,000 are possible"),
        ({"steps": -3}, r"-3 steps are asked for"),
        ({"steps": MAX_STEPS + 1}, r"1000001 steps are asked for"),
        ({"minutes": 0.0}, r"is to take 0 minutes; it must be some time above 0"),
        ({"minutes": -1.5}, r"is to take -1\.5 minutes"),
        ({"minutes": math.inf}, r"is to take inf minutes"),
        ({"minutes": math.nan}, r"is to take nan minutes"),
        ({"precision": "float8"}, r"The precision 'float8' is unknown; choose one of auto, bfloat16, float16, float32"),
        ({"workers": -1}, r"-1 processes are to draw ahead; between 0 and 64 are possible"),
        ({"workers": 65}, r"65 processes are to draw ahead"),
        ({"seed": -1}, r"seed is -1; it must be a whole number from 0 to 2\^63 - 1"),
        ({"seed": 2**63}, r"seed is 9223372036854775808; it must be"),
        ({"name": " \t"}, r"The model has no name. Give one that says what was learnt"),
    ],
)
def test_a_job_that_cannot_be_is_refused(changes, message):
    with pytest.raises(JobError, match=message):
        dataclasses.replace(PLAIN, **changes)
    with pytest.raises(JobError, match=message):
        TrainingJob.from_dict({**PLAIN.to_dict(), **changes})


@pytest.mark.parametrize("missing", ["image_path", "facies", "model_path", "start_path", "work_folder", "name"])
def test_a_job_with_a_missing_part_names_it(missing):
    description = PLAIN.to_dict()
    del description[missing]
    with pytest.raises(JobError, match=f"The job is incomplete or wrong: .*'{missing}'"):
        TrainingJob.from_dict(description)


def test_a_job_with_wrong_or_unknown_parts_names_them():
    with pytest.raises(JobError, match="parts that this engine does not know: grid, patience"):
        TrainingJob.from_dict({**PLAIN.to_dict(), "patience": 3, "grid": {}})
    for changes in ({"steps": "many"}, {"minutes": "ten"}, {"seed": None}):
        with pytest.raises(JobError, match="The job is incomplete or wrong: .*not supported between"):
            TrainingJob.from_dict({**PLAIN.to_dict(), **changes})
    with pytest.raises(FaciesError, match="at least 2 are needed"):
        TrainingJob.from_dict({**PLAIN.to_dict(), "facies": PLAIN.facies.to_list()[:1]})


def test_a_checkpoint_lies_beside_its_model():
    assert checkpoint_folder(Path("models") / "a b.safetensors") == Path("models") / "a b.training"


def test_every_size_has_a_network_and_that_of_the_default_takes_over_the_universal_models_weights():
    assert {SIZES[0], *NETWORKS} == set(SIZES)
    base, universal = NETWORKS[image_training.BASE], train_universal.NETWORK
    for name in ("trunk", "stream", "n_pooled", "n_evidence", "n_bottom"):
        assert getattr(base, name) == getattr(universal, name)
