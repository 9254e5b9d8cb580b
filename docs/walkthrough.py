"""The source of walkthrough.ipynb, in the percent format; `docs/make_walkthrough.py` builds and runs the notebook."""

# %% [markdown]
# # From indicator simulation to a network that knows any order
#
# This notebook is for readers who know kriging and a little Python. It starts from sequential indicator simulation
# (SIS), replaces one part of it, and ends at the method of this plugin: an order-agnostic autoregressive diffusion
# model ([Hoogeboom et al. 2021](https://arxiv.org/abs/2110.02037)). Everything happens on one small picture, on one
# core of a processor, in about a minute. Every random number descends from a seed, so that you will see what is
# stored here, up to the rounding of your processor.
#
# You need what `make env` installs, and a program that runs notebooks. No plotting package is needed.

# %%
import base64
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import oadg
from oadg.core.contract.ensemble import entropy_bits
from oadg.core.contract.training_image import TrainingImage
from oadg.core.kriging.indicators import choose_by_leave_one_out
from oadg.core.kriging.neighbourhood import Estimator, probabilities_from_data
from oadg.core.measures.fidelity import measure
from oadg.core.measures.scores import log_loss_nats
from oadg.core.model.facies_model import FaciesModel
from oadg.core.model.network_config import NetworkConfig
from oadg.core.model.schedule import legs
from oadg.core.reports.drawing import Frame, paletted_png, span_of
from oadg.core.sampling.indicator_simulation import simulate_indicators
from oadg.core.sampling.likelihood import surprise_nats
from oadg.core.sampling.marginal import marginal
from oadg.core.sampling.sampler import draw_facies, sample
from oadg.core.sampling.start import Start, coarsest_level, read_survey
from oadg.core.sampling.visits import draw_stream
from oadg.core.training.image_examples import ImageExamples
from oadg.core.training.loop import TrainingConfig, train, validation_nats

SEED = 7
torch.set_num_threads(1)

# %% [markdown]
# A helper draws maps side by side. Cells without a facies are grey.

# %%
FACIES = ["#f0e2b6", "#2f6690"]  # background, channel
N_SHADES = 64


def blend(first, second):
    """Return colours from one to another."""
    ends = [np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) for color in (first, second)]
    mixed = [np.round(ends[0] + (ends[1] - ends[0]) * k / (N_SHADES - 1)).astype(int) for k in range(N_SHADES)]
    return ["#{:02x}{:02x}{:02x}".format(*color) for color in mixed]


COLORS = [*FACIES, *blend(*FACIES), *blend("#fbf7f0", "#8c1c13"), "#d9d9d9"]
GREY = len(COLORS) - 1


def shade(values, most, *, red=False):
    """Return values from 0 to `most` as numbers of colours: of facies, or white to red."""
    number = np.round(np.clip(np.asarray(values) / most, 0, 1) * (N_SHADES - 1)).astype(int)
    return len(FACIES) + number + N_SHADES * red


class Picture:
    """What a notebook draws: a PNG, or an SVG."""

    def __init__(self, png=None, svg=None):
        self.png, self.svg = png, svg

    def __repr__(self):
        return "[a picture]"

    def _repr_png_(self):
        return self.png

    def _repr_svg_(self):
        return self.svg


try:
    draw = display  # a notebook has it
except NameError:
    draw = print


def show(maps, zoom=4, gap=3):
    """Draw maps, which are given by their names, side by side."""
    print("From left to right: " + " | ".join(maps))
    framed = [np.pad(np.where(m < 0, GREY, m), ((0, 0), (0, gap)), constant_values=-1) for m in maps.values()]
    together = np.concatenate(framed, axis=1)[:, :-gap].repeat(zoom, axis=0).repeat(zoom, axis=1)
    draw(Picture(png=paletted_png(together, COLORS)))


def spots(known):
    """Return hard data as spots of 3 x 3 cells, which are easier to see."""
    larger = np.full(known.shape, -1)
    for row, col in np.argwhere(known >= 0):
        larger[max(0, row - 1) : row + 2, max(0, col - 1) : col + 2] = known[row, col]
    return larger


# %% [markdown]
# ## 1. A piece with a truth
#
# The picture is a well-known training image of sinuous channels (elaloy/gan_for_gradient_based_inv,
# `training/ti/ti.png`, MIT licence). Here is a piece of 128 x 128 cells: rows 1894 to 2021, columns 2174 to 2301. The
# model that we use below learnt from rows and columns 0 to 1549 only, so it has never seen this piece.
#
# The upper left quarter, 64 x 64 cells, is our truth. We hide all of it but 40 cells. These are the hard data, as
# boreholes would give them.

# %%
packed = (
    "eNqVlcGtxCAMRI04cKSElEJpUBqdbErgyCHCP1kgxBMt6HOJnjYeO2ObJbqP5fMMJA1MK3acSHIWbIE1F2AOJBMEENynggYElazvxeSBtwUbYA"
    "VM/g68StE933ZZFc/6eSAf1PwzPE6tSrBiyRbYAT/DC3BqcrlmbaZUG7m2Tzc888T6KNMm+FfTwKIybbpZDMk2T/eBdAzyl82SM3BaMMZjvurS"
    "gxPwId3r5xhLNFr/7G4cW/g9OyhkCCgkAwpBhggCCTNmaby00o4S7jxZdkYGeAhwLF/A+0bhfeLRbA+8/Xe/cX8JWC/eN3N9zG+B3eJ7gJX075"
    "LbQS7IcJz9fXad4iZuwB5WxVc51WZRNTnbZs204llOuJOs5WUkLq8ooqsc3GVPzsB749BqCo/9tX30+hb02e1L4Prvd6erXhq9+AbEX2a7l5vS"
    "bQPdUPyy95i2w7yHOwDHxb9lgmE/C/gDHBZB9g=="
)
cells = np.unpackbits(np.frombuffer(zlib.decompress(base64.b64decode(packed)), dtype=np.uint8))
piece = cells.reshape(128, 128).astype(np.int64)
truth = piece[:64, :64]

rng = np.random.default_rng(SEED)
known = np.full(truth.shape, -1)
data = rng.choice(truth.size, size=40, replace=False)
known.flat[data] = truth.flat[data]
hidden = known < 0

show({"the piece": piece}, zoom=3)
show({"the truth": truth, "what we know": spots(known)})
print(f"{(known == 1).sum()} of {len(data)} data lie in a channel, and {truth.mean():.0%} of the truth.")

# %% [markdown]
# ## 2. Indicator kriging
#
# The indicator of the channel is 1 where a channel was found and 0 elsewhere. Its kriging estimate is a probability.
# The covariance is the one that predicts the data best when each of them is left out in turn.

# %%
places = np.argwhere(known >= 0)
found = known[tuple(places.T)]
covariances = choose_by_leave_one_out(places.astype(float), found, 2)
estimator = Estimator(covariances, np.bincount(found, minlength=2) / len(found))
kriged = probabilities_from_data(known, estimator)

print(f"{covariances[0].kind} covariance, range {covariances[0].range:.0f} cells, nugget {covariances[0].nugget:.2f}")
show({"what we know": spots(known), "kriging, probability of channel": shade(kriged[1], 1), "the truth": truth})

# %% [markdown]
# The map says where channels are likely. It does not say what a channel looks like: kriging knows pairs of cells
# only.
#
# ## 3. Sequential indicator simulation
#
# SIS visits the hidden cells one after another. At each one it kriges from the data and from the cells that it has
# visited before, draws a facies with that probability, and goes on. Every realization honours the data.

# %%
N_REALIZATIONS = 20
sis = simulate_indicators(known, np.ones_like(hidden), estimator, N_REALIZATIONS, seed=SEED)
assert (sis[:, ~hidden] == truth[~hidden]).all()
show({"SIS 1": sis[0], "SIS 2": sis[1], "SIS 3": sis[2], "the truth": truth})


# %% [markdown]
# The proportions are fair. The shapes are not. The numbers say the same: how many separate bodies there are, and how
# often two channel cells in one row, 16 cells apart, belong to one body.


# %%
def describe(name, maps):
    """Print how many bodies maps have, and how they hang together."""
    measured = measure(maps, 2)
    connected = measured.connectivity[1, 1, list(measured.lags).index(16)]
    share, bodies = measured.proportions[:, 1].mean(), measured.n_bodies.mean(axis=0)
    print(f"{name:24s}{share:8.0%} channel{bodies[1]:8.1f} channel bodies{connected:8.0%} connected 16 cells apart")


describe("the truth", truth[None])
describe("SIS, 20 realizations", sis)

# %% [markdown]
# Salt and pepper, and broken channels. Water would not flow through these maps as it does through the truth. Another
# covariance would not help much: very different pictures share one covariance, and SIS draws disordered ones.
#
# ## 4. The idea: replace kriging
#
# SIS asks kriging one question again and again: *given the cells known so far, what is the probability of each facies
# here?* Any other way to answer it gives another sequential simulation. A neural network can answer it, for all
# unknown cells at once, and it may use all known cells together instead of pairs of them. It has learnt from a
# picture what channels look like.
#
# The model `channels` comes with the plugin. First, we ask it about the data only: its *first pass*.

# %%
models = Path(oadg.__file__).parent / "resources" / "models"
model = FaciesModel.load(models / "channels.safetensors")
level = coarsest_level(model.network.config, truth.shape, len(data))
known_cells, everywhere = torch.as_tensor(known), torch.ones(truth.shape, dtype=torch.bool)
start = Start(known_cells, everywhere, 2, level, read_survey(model.network, known_cells, 2))

first_pass = marginal(model.network, start, positions_at_once=4).numpy()
show({"kriging": shade(kriged[1], 1), "the network's first pass": shade(first_pass[1], 1), "the truth": truth})

# %% [markdown]
# Here, too, kriging is not lost: the network is told what it reads from the data, and corrects it (`read_survey`). It
# sees channels that run from datum to datum, and an island between them.
#
# Which one is better? We look at the truth in the hidden cells. The *log loss* is minus the logarithm of the
# probability that was given to what is really there, on average over cells. Lower is better, and 0 would be perfect.


# %%
def loss(probability):
    """Return the mean log loss at hidden cells, nats."""
    return log_loss_nats(probability[:, hidden], truth[hidden]).mean()


proportions_only = np.broadcast_to(estimator.proportions[:, None, None], (2, *truth.shape))
print(f"proportions only  {loss(proportions_only):.3f} nats")
print(f"indicator kriging {loss(kriged):.3f} nats")
print(f"network           {loss(first_pass):.3f} nats")

# %% [markdown]
# This is one piece and one set of data, and a network that learnt from the right picture. The README and the models'
# cards compare on many.
#
# ## 5. Simulating group after group
#
# Now the network takes the place of kriging in sequential simulation. One cell after another would need 4056 runs of
# the network. But cells that are far apart hardly depend on each other, so groups of them are drawn together. The
# order is coarse to fine: first the nodes of a coarse lattice in small groups, then what lies between. Which cells
# form a group is decided before anything is predicted, and the facies are drawn with the probabilities as they are.
#
# `sample` goes through the groups and asks who chooses; by default that is chance. Here we choose, and watch.

# %%
schedule = model.schedules["standard"]
state, states = known.copy(), [known.copy()]


def draw_and_watch(probability, group):
    """Draw the facies of a group of cells, and keep what the map looks like afterwards."""
    drawn = draw_facies(probability, group.uniform)
    state[group.row, group.col] = drawn
    states.append(state.copy())
    return drawn


one_path = [draw_stream(SEED, 0, truth.shape)]
sample(model.network, start, one_path, schedule, choose=draw_and_watch)
print(f"{len(states) - 1} passes for {hidden.sum()} cells.")
finest = legs(level, model.network.config.n_started)[-1]
n_fine_passes = len(schedule.shares(finest)) + schedule.n_corrections(finest)
n_first = len(schedule.started)
some = [0, n_first // 2, n_first, len(states) - 1 - n_fine_passes, len(states) - 1]
show({f"after {number} passes": states[number] for number in some})

# %% [markdown]
# The first nodes lie eight cells apart, then four, then two. Once every second cell is known, in rows and columns,
# little is left to be decided, and the cells between follow in a few passes. On each lattice but the first, further
# passes draw a quarter of its nodes anew, given all others. That repairs what was drawn before its neighbours were
# known.
#
# `sample` does the same for many realizations, each with an order and random numbers of its own.

# %%
streams = [draw_stream(SEED, number, truth.shape) for number in range(N_REALIZATIONS)]
realizations = sample(model.network, start, streams, schedule).numpy()
assert (realizations[:, ~hidden] == truth[~hidden]).all()  # hard data are never drawn, so they are honoured exactly

show({**{f"network {k + 1}": realizations[k] for k in range(3)}, "the truth": truth})
describe("the truth", truth[None])
describe("SIS, 20 realizations", sis)
describe("network, 20 realizations", realizations)

# %% [markdown]
# Channels are channels now, and still no two maps are equal. The model is not perfect: some of its channels end,
# which those of the picture rarely do.
#
# ## 6. How uncertain is it, and where?
#
# The entropy of the probabilities says it in bits: 0 where the facies is certain, 1 where both are equally likely. It
# comes from the first pass, before anything is simulated.
#
# The mean of many realizations estimates the same probabilities, in another way.

# %%
indicators = np.stack([realizations == facies for facies in (0, 1)])
few, some, many = (indicators[:, :n].mean(axis=1) for n in (2, 5, N_REALIZATIONS))
show(
    {
        "first pass": shade(first_pass[1], 1),
        f"mean of {N_REALIZATIONS} realizations": shade(many[1], 1),
        "entropy of the first pass, 0 (white) to 1 bit (red)": shade(entropy_bits(first_pass), 1, red=True),
    }
)
print(f"mean entropy: {entropy_bits(first_pass).mean():.2f} bits (of kriging {entropy_bits(kriged).mean():.2f})")
print(f"first pass and mean of realizations differ by {np.abs(first_pass - many)[1].mean():.3f} on average")
print(f"log loss: first pass {loss(first_pass):.3f} nats")
print(f"          mean of 2 realizations {loss(few):.3f}, of 5 {loss(some):.3f}, of {N_REALIZATIONS} {loss(many):.3f}")

# %% [markdown]
# Both agree. A few realizations are a poor estimate, for a facies that none of them shows is not impossible; many are
# a good one, and cost far more than a single pass. So the plugin's maps of probability and entropy come from the
# first pass. Realizations answer what no map of probabilities can: is this cell connected to that one, how large is
# the largest body?
#
# Uncertain are the edges of channels, and the places where a channel may go on or end. At the data the entropy is 0.
#
# ## 7. The order does not matter
#
# The probability of a whole map is the product of the probabilities at each step (the chain rule). For the true
# probabilities that product is the same whatever the order. A network that has learnt to predict from *any* known
# cells should come close to that. We let it visit the truth along eight different paths. Instead of drawing, it tells
# how probable the truth is. The sum over the cells is the log-likelihood, here in bits; closer to 0 is more likely.

# %%
paths = [draw_stream(SEED + 1, number, truth.shape) for number in range(8)]
visiting_once = schedule.drawing_once()


def surprise_bits(facies_map, n_paths):
    """Return the surprise of each cell along some paths, bits: of a map, or of what the model itself draws there."""
    facies_map = None if facies_map is None else torch.as_tensor(facies_map.astype(np.int64))
    surprise = surprise_nats(model.network, facies_map, start, paths[:n_paths], visiting_once)
    return surprise.numpy() / np.log(2)


def tell(name, bits_of_paths):
    """Print a log-likelihood, and its spread over paths."""
    print(f"{name:28s}{-bits_of_paths.mean():9.0f} bits, spread {bits_of_paths.std(ddof=1):5.0f}")


scrambled = truth.copy()
scrambled[hidden] = np.random.default_rng(SEED).permutation(truth[hidden])
of_truth, of_sis, of_scrambled = surprise_bits(truth, 8), surprise_bits(sis[0], 4), surprise_bits(scrambled, 4)
own = surprise_bits(None, 8).sum(axis=(1, 2))

print("along each path:", ", ".join(f"{-total:.0f}" for total in of_truth.sum(axis=(1, 2))))
tell("the truth", of_truth.sum(axis=(1, 2)))
tell("realizations of the network", own)
tell("a realization of SIS", of_sis.sum(axis=(1, 2)))
tell("the truth, scrambled", of_scrambled.sum(axis=(1, 2)))
assert of_truth.sum() / 8 < of_sis.sum() / 4 < of_scrambled.sum() / 4
show(
    {
        "the truth": truth,
        "how it surprises, 0 (white) to 2 bits (red)": shade(of_truth.mean(axis=0), 2, red=True),
        "SIS 1": sis[0],
        "how that surprises": shade(of_sis.mean(axis=0), 2, red=True),
    }
)

# %% [markdown]
# The paths agree within a few bits, and the maps differ by hundreds and thousands: the order hardly matters. It would
# not matter at all if the network were perfect and each cell were visited alone. The truth is no less likely than
# what the network draws itself. What surprise there is lies at the edges of channels, where a cell more or less is
# chance. The map of SIS surprises along its ragged edges and with its crumbs. The scrambled map has the same
# proportions and honours the same data, and is hopeless. The plugin's *Score a facies map* does this for any map.
#
# ## 8. How such a network is trained
#
# Take a picture. Hide some of its cells, at random: sometimes nearly all, sometimes few. Ask the network for what is
# hidden, and change its weights so that the log loss becomes lower. Repeat. Averaged over all numbers of known cells
# this loss bounds the log-likelihood of section 7, whatever the order.
#
# `ImageExamples` draws such examples from the piece. Here are three from one batch: what the network is told, and
# below what it is asked. Some are known like data, some like a map that is being simulated. Grey margins are padding,
# or lie beyond the piece, over whose border windows hang.

# %%
image = TrainingImage(piece.astype(np.int16), model.facies, symmetry="half turn", origin="the piece of section 1")
small = {"trunk": (16, 24), "stream": (8, 8), "n_bottom": 1, "refiner": 16, "n_refiner_blocks": 2}
config = NetworkConfig(**small, n_levels=2, n_classes=2)
examples = ImageExamples(image, config, SEED)


def shares(batch):
    """Return the share of nodes that each map of a batch knows, sorted, and the order."""
    share = (batch.class_index >= 0).float().mean(dim=(1, 2)).numpy()
    return np.sort(share), np.argsort(share)


batches = [batch for batch in map(examples, range(20)) if batch.level == 0 and len(batch.truth) >= 3]
batch = max(batches, key=lambda batch: np.ptp(shares(batch)[0]))
chosen = shares(batch)[1][[0, len(batch.truth) // 2, -1]]
show({f"{letter} told": batch.class_index[k] for letter, k in zip("ABC", chosen)}, zoom=3)
show({f"{letter} asked": torch.where(batch.unknown, batch.truth, -1)[k] for letter, k in zip("ABC", chosen)}, zoom=3)

# %% [markdown]
# A small network learns for some steps from the piece. Training never sees the lower right corner of the picture; the
# held-out loss is measured there, with a quarter of the cells known, or more. At 0.693 nats (1 bit) the network knows
# nothing.

# %%
STEPS, EVERY = 40, 4
lines = []
recipe = TrainingConfig(STEPS, SEED, learning_rate=6e-3, warmup_steps=4, ema_decay=0.8, precision="float32")
with tempfile.TemporaryDirectory() as folder:
    train(
        config,
        replace(recipe, checkpoint_steps=EVERY),
        examples,
        Path(folder),
        held_out_nats=lambda network: {"": validation_nats(network, map(examples.held_out, range(2)))},
        on_log=lambda line: lines.append(dict(line)),
    )
steps = np.array([line["step"] for line in lines])
losses = np.array([line["held_out_nats"] for line in lines])
frame = Frame((0, STEPS), span_of(np.append(losses, 0)), 480, 260, "steps", "held-out loss, nats")
curve = [frame.line(steps, losses, FACIES[1]), frame.dots(steps, losses, FACIES[1])]
draw(Picture(svg=frame.svg(curve, "The held-out loss falls.")))
print(f"{losses[0]:.3f} nats after {steps[0]} steps, {losses[-1]:.3f} nats after {steps[-1]}")
assert losses[-1] < losses[0]

# %% [markdown]
# The fall is quick at first: where many cells are known, the neighbours tell nearly all. What takes long is to learn
# how channels run where little is known. The model `channels` took 16,000 steps, with a larger network, a second one
# where a coarser lattice is known, and a larger picture, and ended at 0.021 nats on a corner of its own picture. *Train
# model on a training image* does it for your picture.
#
# ## What to keep in mind
#
# - It is sequential simulation, with a network in the place of kriging. Hard data are honoured because they are never
#   drawn.
# - The network knows what its picture showed, and nothing else. Where your geology differs, the realizations are
#   wrong, however good they look.
# - Without a picture, the *universal* model does the same. It learnt from random fields of many kinds.
