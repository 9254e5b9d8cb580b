"""Training resumes bit for bit and learns; what it learns from is drawn as documented."""

import dataclasses
import json
from types import SimpleNamespace

import pytest
import torch

from oadg.core.contract.errors import JobError
from oadg.core.model.network import FaciesNetwork
from oadg.core.model.network_config import NetworkConfig
from oadg.core.training import loop, train_universal
from oadg.core.training.loop import TrainingConfig, examples_nats, train, validation_nats
from oadg.core.training.train_universal import draw_examples

NETWORK = NetworkConfig(trunk=(8, 8), stream=(8, 8), n_pooled=4, n_evidence=4, n_bottom=1)
CONFIG = TrainingConfig(steps=6, seed=1, warmup_steps=2, checkpoint_steps=2, precision="float32")


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(train_universal, "_BATCH_CELLS", 4000)


def examples(step):
    return draw_examples(step, seed=4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_an_interrupted_run_gives_the_weights_of_one_that_was_not(tmp_path, precision):
    config = dataclasses.replace(CONFIG, precision=precision)
    whole, _ = train(NETWORK, config, examples, tmp_path / "whole")
    stops = 0
    state = {"step": 0}
    while state["step"] < CONFIG.steps:
        parts, state = train(NETWORK, config, examples, tmp_path / "parts", stop_after_seconds=0.05)
        stops += 1
        assert stops < 100
    for key, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[key]), key
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [2, 4, 6]
    rates = [CONFIG.learning_rate_at(step) for step in (1, 3, 5)]
    assert [line["learning_rate"] for line in log] == rates


def test_examples_drawn_ahead_by_another_process_give_the_same_weights(tmp_path):
    here, _ = train(NETWORK, CONFIG, examples, tmp_path / "here")
    ahead, _ = train(NETWORK, CONFIG, examples, tmp_path / "ahead", n_workers=1)
    for key, value in here.state_dict().items():
        assert torch.equal(value, ahead.state_dict()[key]), key


@pytest.mark.parametrize("n_workers", [0, 1])
def test_each_batch_serves_several_steps_turned(tmp_path, n_workers):
    seen = []

    def draw(number):
        seen.append(number)
        return examples(number)

    config = dataclasses.replace(CONFIG, n_uses=4)
    whole, _ = train(NETWORK, config, draw, tmp_path / "whole", n_workers=n_workers)
    assert n_workers or seen == [0, 1]  # six steps
    for stop in (3, 5):  # within a batch
        train(NETWORK, config, draw, tmp_path / "parts", should_stop=lambda state, stop=stop: state["step"] == stop)
    parts, _ = train(NETWORK, config, draw, tmp_path / "parts")
    for key, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[key]), key


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_turned_batch_is_the_same_maps_turned(turn):
    drawn = next(batch for batch in map(examples, range(20)) if batch.features is not None and len(batch.data.row))
    turned = drawn.turned(turn)
    for name in ("class_index", "inside", "truth", "unknown"):
        assert torch.equal(getattr(turned, name), torch.rot90(getattr(drawn, name), turn, (1, 2))), name
    told = torch.zeros(drawn.truth.shape, dtype=torch.int64)
    told[drawn.data.batch, drawn.data.row, drawn.data.col] = 1 + drawn.data.class_index
    of_turned = torch.zeros(turned.truth.shape, dtype=torch.int64)
    of_turned[turned.data.batch, turned.data.row, turned.data.col] = 1 + turned.data.class_index
    assert ((of_turned > 0) == torch.rot90(told > 0, turn, (1, 2))).all()
    assert torch.equal(turned.features.of_facies, torch.rot90(drawn.features.of_facies, turn, (3, 4)))


def test_a_batch_for_a_graphics_card_has_as_many_times_as_many_maps():
    assert len(draw_examples(3, seed=4, n_maps_times=3).truth) == 3 * len(examples(3).truth)


def test_training_starts_from_a_network_that_may_lack_a_part(tmp_path):
    start, _ = train(NETWORK, CONFIG, examples, tmp_path / "start")
    more = dataclasses.replace(NETWORK, n_levels=3)
    untouched, _ = train(more, dataclasses.replace(CONFIG, steps=0), examples, tmp_path / "more", start=start)
    assert not untouched.of_level.any()
    for key, value in start.state_dict().items():
        assert torch.equal(value, untouched.state_dict()[key]), key


def test_a_run_is_shortened_or_prolonged_to_the_time_that_it_is_to_take(monkeypatch, tmp_path):
    """Each step takes a second by a clock that only steps move: of 200 steps 30 fit into half a minute."""
    clock = [0.0]
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def draw(step):
        clock[0] += 1
        return examples(step)

    config = dataclasses.replace(CONFIG, steps=200, checkpoint_steps=5, warmup_steps=2)
    _, state = train(NETWORK, config, draw, tmp_path / "short", due_seconds=30)
    assert (state["step"], state["steps"], state["is_done"]) == (30, 30, True)
    assert state["learning_rate"] < 0.01 * config.learning_rate
    _, part = train(NETWORK, config, draw, tmp_path / "parts", due_seconds=30, should_stop=lambda s: s["step"] == 12)
    assert (part["step"], part["steps"]) == (12, 30)
    _, state = train(NETWORK, config, draw, tmp_path / "parts", due_seconds=30)
    assert (state["step"], state["is_done"]) == (30, True)
    _, state = train(NETWORK, dataclasses.replace(config, steps=35), draw, tmp_path / "fits", due_seconds=30)
    assert state["step"] == 35, "a little longer is no harm"
    _, state = train(NETWORK, dataclasses.replace(config, steps=12), draw, tmp_path / "few", due_seconds=30)
    assert (state["step"], state["is_done"]) == (30, True), "the first steps were slow when it was planned"
    assert state["learning_rate"] < 0.01 * config.learning_rate
    _, state = train(NETWORK, dataclasses.replace(config, steps=9), draw, tmp_path / "late", due_seconds=30)
    assert state["step"] == 9, "not in its second half, when the learning rate falls"


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path):
    train(NETWORK, dataclasses.replace(CONFIG, steps=2), examples, tmp_path)
    with pytest.raises(JobError, match="belongs to another recipe"):
        train(NETWORK, dataclasses.replace(CONFIG, steps=2, seed=2), examples, tmp_path)


def scaled_run(monkeypatch, *losses, precision="float16"):
    """Return a run in a precision whose losses are the network's times these, one after the other."""
    torch.manual_seed(0)
    run = loop._Run(FaciesNetwork(NETWORK), dataclasses.replace(CONFIG, precision=precision), torch.device("cpu"))
    times = iter(losses)
    monkeypatch.setattr(loop, "examples_nats", lambda *asked: next(times) * examples_nats(*asked))
    return run


def weights_of(run):
    return {key: value.clone() for key, value in run.network.state_dict().items()}


def test_a_step_whose_gradients_are_not_finite_is_left_out_with_float16(monkeypatch):
    run = scaled_run(monkeypatch, 1.0, float("inf"), 1.0)
    before = weights_of(run)
    run.take_step(examples(1))
    moved, scale = weights_of(run), run.scaler.get_scale()
    assert any(not torch.equal(before[key], moved[key]) for key in before)
    run.take_step(examples(2))
    assert all(torch.equal(moved[key], value) for key, value in run.network.state_dict().items())
    assert run.scaler.get_scale() == scale / 2, "the loss was scaled too much"
    run.take_step(examples(3))
    assert any(not torch.equal(moved[key], value) for key, value in run.network.state_dict().items())
    assert all(value.isfinite().all() for value in run.network.state_dict().values())


def test_a_checkpoint_keeps_the_scale_of_the_loss(monkeypatch, tmp_path):
    run = scaled_run(monkeypatch, float("inf"), float("inf"))
    for step in (1, 2):
        run.take_step(examples(step))
    run.save(tmp_path / "checkpoint.pt", {})
    resumed = scaled_run(monkeypatch)
    resumed.load(tmp_path / "checkpoint.pt", {}, "cpu")
    assert resumed.scaler.state_dict() == run.scaler.state_dict()
    assert resumed.scaler.get_scale() < scaled_run(monkeypatch).scaler.get_scale()


def test_checkpoints_of_before_losses_were_scaled_go_on(monkeypatch, tmp_path):
    run = scaled_run(monkeypatch, precision="bfloat16")
    run.save(tmp_path / "checkpoint.pt", {})
    old = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert old.pop("scaler") == {}
    torch.save(old, tmp_path / "checkpoint.pt")
    scaled_run(monkeypatch, precision="bfloat16").load(tmp_path / "checkpoint.pt", {}, "cpu")


@pytest.mark.parametrize(
    ("precision", "device"),
    [
        ("float32", "cpu"),
        pytest.param("float16", "cpu", marks=pytest.mark.slow),
        pytest.param("float16", "cuda", marks=pytest.mark.gpu),
        pytest.param("bfloat16", "cuda", marks=pytest.mark.gpu),
    ],
)
def test_it_learns(tmp_path, precision, device):
    """The loss on batches that training never sees falls."""
    config = dataclasses.replace(CONFIG, steps=40, learning_rate=5e-3, ema_decay=0.5, precision=precision)
    untrained, _ = train(NETWORK, dataclasses.replace(config, steps=0), examples, tmp_path / "none")
    trained, _ = train(NETWORK, config, examples, tmp_path / "some", device=device)
    trained = trained.cpu()
    steps = range(10**6, 10**6 + 5)
    batches = list(map(examples, steps))
    assert validation_nats(trained, batches) < 0.95 * validation_nats(untrained, batches)


def test_learning_rate_warms_up_and_falls_to_zero():
    config = TrainingConfig(steps=1000, learning_rate=1.0, warmup_steps=100)
    assert config.learning_rate_at(0) == pytest.approx(0.01, rel=0.01)
    assert max(map(config.learning_rate_at, range(1000))) <= 1.0
    assert config.learning_rate_at(999) < 1e-4


@pytest.mark.parametrize("step", range(8))
def test_examples_are_consistent(step):
    drawn = examples(step)
    known = drawn.class_index >= 0
    assert not (known & drawn.unknown).any()
    assert not ((known | drawn.unknown) & ~drawn.inside).any()
    assert torch.equal(drawn.class_index[known], drawn.truth[known])
    # Every cell that counts has a facies that its map may have.
    allowed = drawn.present.gather(1, drawn.truth.clamp_min(0).flatten(1)).view_as(known)
    assert allowed[drawn.unknown].all()
    assert drawn.present.any(dim=1).all()


def test_a_step_is_a_function_of_seed_and_number():
    first, again, other = examples(3), examples(3), draw_examples(3, seed=5)
    assert torch.equal(first.class_index, again.class_index)
    assert first.class_index.shape != other.class_index.shape or (first.class_index != other.class_index).any()


def test_data_only_examples_know_nothing_else():
    drawn = draw_examples(2, seed=4, data_only=True)
    full = draw_examples(2, seed=4)
    assert (drawn.class_index >= 0).sum() < (full.class_index >= 0).sum()


def test_what_is_refined_has_a_known_coarser_lattice_and_no_kriging():
    told, known = [], []
    for step in range(30):
        drawn = examples(step)
        told.append(drawn.features is not None)
        known.append(float((drawn.class_index >= 0).sum() / (drawn.unknown | (drawn.class_index >= 0)).sum()))
    refined = [share for share, is_told in zip(known, told) if not is_told]
    assert 5 < len(refined) < 20
    assert min(refined) > 0.25


def test_an_untrained_network_is_indifferent(tmp_path):
    """At the start every facies present is equally likely: the loss is the log of their number."""
    network, _ = train(NETWORK, dataclasses.replace(CONFIG, steps=0), examples, tmp_path)
    drawn = examples(1)
    expected = drawn.present.sum(dim=1).log() * drawn.unknown.any(dim=2).any(dim=1)
    assert torch.allclose(examples_nats(network, drawn), expected, atol=1e-4)
