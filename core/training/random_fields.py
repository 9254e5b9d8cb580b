"""
The prior of the universal model: categorical random fields as geologists map them, and surveys of them.

Everything is drawn in torch, in batches, so that a graphics card can feed its own training. Fields are square, and the
windows that are learnt from are cut from them. Gaussian fields live on a torus; trends, layers and mosaics do not, and
what is made with them has an edge.
Sources: truncated and plurigaussian fields, Armstrong et al. 2011, *Plurigaussian Simulations in Geosciences*;
spectral simulation, Dietrich and Newsam 1993.
"""

from __future__ import annotations

import math
from typing import Callable, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_FAMILY_SHARES = (0.34, 0.14, 0.22, 0.14, 0.09, 0.07)
"""Of argmax, truncated, tree, plurigaussian, mosaic and layered fields."""


class FieldLaw(NamedTuple):
    """
    Laws that Gaussian fields follow: their parameters, tensors of shape (n_fields,).

    Parameters
    ----------
    range_cells : Tensor
        Distance, in cells, at which correlation has mostly faded along the long axis.
    ratio : Tensor
        Long over short range, at least 1.
    azimuth : Tensor
        Direction of the long axis, radians.
    roughness : Tensor
        Exponent of the spectrum's fall: 1.5 is an exponential covariance, 6 nearly Gaussian.
    nested_share : Tensor
        Share of the variance that has a shorter range: detail on top of the large structure.
    nested_range : Tensor
        That range, as a share of the long one.
    """

    range_cells: Tensor
    ratio: Tensor
    azimuth: Tensor
    roughness: Tensor
    nested_share: Tensor
    nested_range: Tensor


def draw_field_laws(n_fields: int, shortest: float, longest: float, generator: torch.Generator) -> FieldLaw:
    """
    Draw laws with ranges log-uniform between `shortest` and `longest` cells.

    Parameters
    ----------
    n_fields : int
        How many.
    shortest, longest : float
        Bounds of the range, in cells.
    generator : torch.Generator
        Source of randomness; its device is where the tensors live.
    """

    def uniform() -> Tensor:
        return torch.rand(n_fields, generator=generator, device=generator.device)

    range_cells = shortest * (longest / shortest) ** uniform()
    isotropic = uniform() < 0.4
    ratio = torch.where(isotropic, torch.ones(()).to(isotropic.device), 8 ** uniform())
    ratio = torch.minimum(ratio, range_cells / shortest)
    return FieldLaw(
        range_cells=range_cells,
        ratio=ratio,
        azimuth=math.pi * uniform(),
        roughness=2.0 * 3 ** uniform(),
        nested_share=torch.where(uniform() < 0.3, 0.5 * uniform(), 0.0),
        nested_range=torch.maximum(0.05 * 8 ** uniform(), ratio * shortest / range_cells),
    )


def gaussian_fields(law: FieldLaw, n_each: int, size: int, generator: torch.Generator) -> Tensor:
    """
    Draw standard Gaussian fields on the torus.

    Parameters
    ----------
    law : FieldLaw
        Parameters of `n_fields` fields.
    n_each : int
        Independent fields drawn of each law.
    size : int
        Side of the torus, in cells.
    generator : torch.Generator
        Source of randomness.

    Returns
    -------
    Tensor, shape (n_fields, n_each, size, size)
        Mean 0 and variance 1 over each field.
    """
    device = generator.device
    amplitude = power_spectrum(law, size).sqrt()
    shape = (law.azimuth.numel(), n_each, size, size // 2 + 1)
    noise = torch.randn(shape, dtype=torch.complex64, generator=generator, device=device)
    fields = torch.fft.irfft2(noise * amplitude[:, None], s=(size, size))
    mean, deviation = fields.mean(dim=(2, 3), keepdim=True), fields.std(dim=(2, 3), keepdim=True)
    return (fields - mean) / deviation.clamp_min(1e-12)


def power_spectrum(law: FieldLaw, size: int) -> Tensor:
    """Return the power (n_fields, size, size // 2 + 1) of Gaussian fields on the torus, frequencies as in rfft2."""
    device = law.azimuth.device
    frequency = torch.fft.fftfreq(size, device=device)  # cycles per cell
    across = torch.fft.rfftfreq(size, device=device)[None, None, :]
    down = frequency[None, :, None]
    cos, sin = (f(law.azimuth)[:, None, None] for f in (torch.cos, torch.sin))
    long = law.range_cells[:, None, None]
    short = long / law.ratio[:, None, None]
    squared = (long * (across * cos + down * sin)) ** 2 + (short * (down * cos - across * sin)) ** 2
    # The spectrum of a Matern covariance. Dividing by the exponent keeps the practical range while smoothness varies.
    exponent = law.roughness[:, None, None]
    squared = squared * (2 * math.pi) ** 2 / (6 * exponent)
    power = (1 + squared) ** -exponent
    nested = (1 + squared * law.nested_range[:, None, None] ** 2) ** -exponent
    share = law.nested_share[:, None, None]
    return (1 - share) * power / power.sum(dim=(1, 2), keepdim=True) + share * nested / nested.sum(
        dim=(1, 2), keepdim=True
    )


def categorical_fields(
    n_fields: int, n_facies: int, size: int, shortest: float, longest: float, generator: torch.Generator
) -> Tensor:
    """
    Draw categorical fields from all families of the prior.

    Parameters
    ----------
    n_fields, n_facies : int
        How many fields; of how many facies each (a field may lack some of them).
    size : int
        Side of the fields, in cells.
    shortest, longest : float
        Bounds of the ranges, in cells.
    generator : torch.Generator
        Source of randomness.

    Returns
    -------
    int64 Tensor, shape (n_fields, size, size)
        Class index, 0 … n_facies - 1.
    """
    shares = torch.tensor(_FAMILY_SHARES, device=generator.device)
    family = torch.multinomial(shares, n_fields, replacement=True, generator=generator)
    fields = torch.empty(n_fields, size, size, dtype=torch.int64, device=generator.device)
    draw = (_argmax_fields, _truncated_fields, _tree_fields, _plurigaussian_fields, _mosaic_fields, _layered_fields)
    for index, draw_family in enumerate(draw):
        chosen = family == index
        n_chosen = int(chosen.sum())
        if n_chosen:
            law = draw_field_laws(n_chosen, shortest, longest, generator)
            fields[chosen] = draw_family(law, n_facies, size, generator)
    return _add_inclusions(_shuffle_classes(fields, n_facies, generator), shortest, generator)


def _argmax_fields(law: FieldLaw, n_facies: int, size: int, generator: torch.Generator) -> Tensor:
    """Let the largest of K Gaussian fields win: compact bodies, any facies beside any other, some along a trend."""
    device, n_fields = generator.device, len(law.azimuth)
    # In half of the fields each facies has a range of its own.
    own = torch.rand(n_fields, 1, generator=generator, device=device) < 0.5
    factor = 2 ** (2 * torch.rand(n_fields, n_facies, generator=generator, device=device) - 1)
    factor = torch.where(own, factor, 1.0).flatten()
    each = FieldLaw(*(values.repeat_interleave(n_facies) for values in law))
    scores = gaussian_fields(each._replace(range_cells=each.range_cells * factor), 1, size, generator)
    scores = scores.view(n_fields, n_facies, size, size)
    strength = torch.rand(n_fields * n_facies, 1, 1, generator=generator, device=device)
    scores = scores + (strength * _trend(n_fields * n_facies, 1.0, size, generator)).view_as(scores)
    spread = 1.2 * torch.rand(n_fields, 1, generator=generator, device=device)
    bias = spread * torch.randn(n_fields, n_facies, generator=generator, device=device)
    return (scores + bias[:, :, None, None]).argmax(dim=1)


def _truncated_fields(law: FieldLaw, n_facies: int, size: int, generator: torch.Generator) -> Tensor:
    """Cut one Gaussian field at thresholds: facies follow each other in order, as in graded or layered maps."""
    field = gaussian_fields(law, 1, size, generator)[:, 0] + _trend(len(law.azimuth), 1.5, size, generator)
    share = torch.rand(len(field), n_facies, generator=generator, device=generator.device) + 0.1
    cuts = (share.cumsum(dim=1) / share.sum(dim=1, keepdim=True))[:, :-1]
    return torch.stack([_cut(f, c) for f, c in zip(field, cuts)])


def _cut(field: Tensor, fractions: Tensor) -> Tensor:
    """Cut a field at its quantiles."""
    ordered = field.flatten()[::16].sort().values  # a sixteenth of the cells tells the quantiles well enough
    thresholds = ordered[(fractions * (ordered.numel() - 1)).long()]
    return torch.bucketize(field, thresholds)


def _tree_fields(law: FieldLaw, n_facies: int, size: int, generator: torch.Generator) -> Tensor:
    """Split one region after another by a threshold or a sinuous band of a new field: units, intrusions, channels."""
    device, n_fields = generator.device, len(law.azimuth)
    label = torch.zeros(n_fields, size, size, dtype=torch.int64, device=device)
    for new in range(1, n_facies):
        # Each split has its own scale, not far from the field's.
        factor = 2 ** (2 * torch.rand(n_fields, generator=generator, device=device) - 1)
        split = law._replace(range_cells=law.range_cells * factor, roughness=law.roughness.clamp_min(2.5))
        field = gaussian_fields(split, 1, size, generator)[:, 0]
        band = torch.rand(n_fields, generator=generator, device=device) < 0.3
        field = torch.where(band[:, None, None], field.abs(), field)
        level = torch.rand(n_fields, generator=generator, device=device)
        threshold = torch.where(band, 0.15 + 0.6 * level, 2.4 * (level - 0.5))
        parent = (new * torch.rand(n_fields, generator=generator, device=device)).long()
        taken = (field < threshold[:, None, None]) & (label == parent[:, None, None])
        label = torch.where(taken, new, label)
    return label


def _plurigaussian_fields(law: FieldLaw, n_facies: int, size: int, generator: torch.Generator) -> Tensor:
    """Map two Gaussian fields through a random partition of their plane: some contacts never occur."""
    pair = gaussian_fields(law, 2, size, generator) + _trend(len(law.azimuth), 1.0, size, generator)[:, None]
    centre = torch.randn(len(pair), n_facies, 2, generator=generator, device=generator.device)
    distance = ((pair[:, None] - centre[:, :, :, None, None]) ** 2).sum(dim=2)
    return distance.argmin(dim=1)


def _mosaic_fields(law: FieldLaw, n_facies: int, size: int, generator: torch.Generator) -> Tensor:
    """Give the tiles of a warped Voronoi mosaic independent facies: parcels, blocks, soil units."""
    device = generator.device
    warp = gaussian_fields(law, 2, size, generator)
    axis = torch.arange(size, device=device, dtype=torch.float32)
    place = torch.stack(torch.meshgrid(axis, axis, indexing="ij"))
    mosaics = []
    for index in range(len(warp)):
        range_cells = float(law.range_cells[index])
        n_tiles = int(min(max((size / range_cells) ** 2, 3 * n_facies), 120))
        strength = 0.25 * min(range_cells, 60.0) * torch.rand((), generator=generator, device=device)
        centres = size * torch.rand(n_tiles, 2, generator=generator, device=device)
        warped = (place + strength * warp[index]).flatten(1).T
        share = torch.rand(n_facies, generator=generator, device=device) + 0.1
        facies = torch.multinomial(share, n_tiles, replacement=True, generator=generator)
        mosaics.append(facies[torch.cdist(warped, centres).argmin(dim=1)].view(size, size))
    return torch.stack(mosaics)


def _layered_fields(law: FieldLaw, n_facies: int, size: int, generator: torch.Generator) -> Tensor:
    """Let bent layers of uneven thickness follow each other along a direction: strata, some of which come again."""
    device, n_fields = generator.device, len(law.azimuth)
    axis = torch.linspace(-0.5, 0.5, size, device=device)
    across = axis[:, None] * torch.cos(law.azimuth)[:, None, None]
    across = across - axis * torch.sin(law.azimuth)[:, None, None]
    n_layers = (size / law.range_cells.clamp_min(1)).clamp(2, 24)
    bend = gaussian_fields(law, 1, size, generator)[:, 0]
    strength = 1.2 * torch.rand(n_fields, generator=generator, device=device)
    phase = across * n_layers[:, None, None] + strength[:, None, None] * bend
    first = torch.rand(n_fields, 1, generator=generator, device=device) - 32
    edges = first + (1.25 * (torch.rand(n_fields, 64, generator=generator, device=device) + 0.3)).cumsum(dim=1)
    facies = torch.randint(n_facies, (n_fields, 65), generator=generator, device=device)
    return torch.stack([f[torch.bucketize(p, e)] for p, e, f in zip(phase, edges, facies)])


def _trend(n_fields: int, strength: float, size: int, generator: torch.Generator) -> Tensor:
    """Return linear trends (n_fields, size, size), half of them flat."""
    device = generator.device
    axis = torch.linspace(-1, 1, size, device=device)
    slope = strength * torch.randn(n_fields, 2, 1, 1, generator=generator, device=device)
    slope = slope * (torch.rand(n_fields, 1, 1, 1, generator=generator, device=device) < 0.5)
    return slope[:, 0] * axis[:, None] + slope[:, 1] * axis[None, :]


def _shuffle_classes(fields: Tensor, n_facies: int, generator: torch.Generator) -> Tensor:
    """Renumber each field's facies at random."""
    order = torch.rand(len(fields), n_facies, generator=generator, device=generator.device).argsort(dim=1)
    return order.gather(1, fields.flatten(1)).view_as(fields)


def _add_inclusions(fields: Tensor, shortest: float, generator: torch.Generator) -> Tensor:
    """
    Put small bodies of what lies elsewhere into 40 % of the fields: lenses, pockets, what a map's author left out.

    Up to 40 % of a field are inclusions, mostly few; between observations further apart they are a nugget.
    """
    device, (n_fields, size, _) = generator.device, fields.shape
    law = draw_field_laws(n_fields, shortest, 8 * shortest, generator)
    wanted = torch.rand(n_fields, generator=generator, device=device) < 0.4
    share = torch.where(wanted, 0.4 * torch.rand(n_fields, generator=generator, device=device) ** 2, 0.0)
    threshold = torch.special.ndtri(1 - share.double()).float()
    body = gaussian_fields(law, 1, size, generator)[:, 0] > threshold[:, None, None]
    row, col = torch.randint(size, (2,), generator=generator, device=device).tolist()
    return torch.where(body, fields.roll((row, col), dims=(1, 2)), fields)


def _in_a_block(row: Tensor, col: Tensor, uniform: Callable[..., Tensor]) -> Tensor:
    """Return which cells, at rows and columns over the longer side, lie in a rectangle (n_fields, n_rows, n_cols)."""
    size = 0.15 + 0.5 * uniform(2, 1, 1)
    beyond = torch.stack([row.max() - size[:, 0], col.max() - size[:, 1]], dim=1).clamp_min(0)
    south, east = (uniform(2, 1, 1) * beyond).unbind(dim=1)
    return (row >= south) & (row <= south + size[:, 0]) & (col >= east) & (col <= east + size[:, 1])


def draw_surveys(fields: Tensor, n_data: Tensor, n_facies: int, generator: torch.Generator) -> Tensor:
    """
    Choose which cells surveys visit: at random, clustered, nested, on lines, on a jittered grid, by facies, in blocks.

    Parameters
    ----------
    fields : int64 Tensor, shape (n_fields, n_rows, n_cols)
        The windows to survey.
    n_data : int64 Tensor, shape (n_fields,)
        Number of visited cells.
    n_facies : int
        For preferential surveys, which are denser on some facies.
    generator : torch.Generator
        Source of randomness.

    Returns
    -------
    bool Tensor, shape (n_fields, n_rows, n_cols)
        True at visited cells.
    """
    device, (n_fields, n_rows, n_cols) = generator.device, fields.shape

    def uniform(*shape: int) -> Tensor:
        return torch.rand(n_fields, *shape, generator=generator, device=device)

    row = torch.arange(n_rows, device=device)[None, :, None] / max(n_rows, n_cols)
    col = torch.arange(n_cols, device=device)[None, None, :] / max(n_rows, n_cols)
    log_intensity = torch.zeros(fields.shape, device=device)

    # Clusters: the sum of a few bumps.
    bumps = [(uniform(2, 1, 1), 0.03 * 6 ** uniform(1, 1)) for _ in range(5)]
    clustered = uniform(1, 1)[:, 0, 0] < 0.25
    of_bumps = torch.zeros(int(clustered.sum()), n_rows, n_cols, device=device)
    for centre, width in ((centre[clustered], width[clustered]) for centre, width in bumps):
        of_bumps += torch.exp(-((row - centre[:, 0]) ** 2 + (col - centre[:, 1]) ** 2) / (2 * width**2))
    log_intensity[clustered] += torch.log(of_bumps + 0.01)

    # Nested: most observations are near one of few others.
    anchor = uniform(n_rows, n_cols) < (0.4 * n_data / (n_rows * n_cols))[:, None, None]
    is_close, nested = uniform(1, 1)[:, 0, 0] < 0.5, uniform(1, 1)[:, 0, 0] < 0.15
    for reach, chosen in ((1, nested & is_close), (4, nested & ~is_close)):
        near = F.max_pool2d(anchor[chosen, None].float(), (2 * reach + 1, 1), 1, (reach, 0))
        log_intensity[chosen] += 3.0 * F.max_pool2d(near, (1, 2 * reach + 1), 1, (0, reach))[:, 0]

    # Lines: parallel traverses, sampled more densely along than across.
    angle, spacing, start = math.pi * uniform(1, 1), 0.08 * 4 ** uniform(1, 1), uniform(1, 1)
    lines = uniform(1, 1)[:, 0, 0] < 0.15
    angle, spacing, start = angle[lines], spacing[lines], start[lines]
    across = (row * torch.cos(angle) + col * torch.sin(angle)) / spacing + start
    on_line = (across - across.round()).abs() * spacing * max(n_rows, n_cols) < 1.0
    log_intensity[lines] += torch.where(on_line, 0.0, -6.0)

    # Preferential: some facies are visited more often. Blocks: nothing outside a rectangle, or two.
    preference = torch.randn(n_fields, n_facies, generator=generator, device=device)
    preferential = uniform(1, 1)[:, 0, 0] < 0.15
    chosen = fields[preferential]
    log_intensity[preferential] += preference[preferential].gather(1, chosen.flatten(1)).view(chosen.shape)
    has_second = uniform(1, 1) < 0.4
    in_blocks = _in_a_block(row, col, uniform) | (_in_a_block(row, col, uniform) & has_second)
    blocks = uniform(1, 1) < 0.15
    log_intensity += torch.where(blocks & ~in_blocks, -8.0, 0.0)

    # Adding Gumbel noise and taking the largest draws without replacement, in proportion to the intensity.
    gumbel = -torch.log(-torch.log(uniform(n_rows, n_cols).clamp(1e-12, 1 - 1e-7)))
    score = (log_intensity + gumbel).flatten(1)

    # A jittered grid: the best cell of each square of a grid whose squares number about n_data.
    regular = uniform(1, 1)[:, 0, 0] < 0.2
    side = torch.sqrt(n_rows * n_cols / n_data[regular].clamp_min(1).float())[:, None, None]
    square_row = (torch.arange(n_rows, device=device)[None, :, None] / side).long()
    square_col = (torch.arange(n_cols, device=device)[None, None, :] / side).long()
    square, of_regular = (square_row * n_cols + square_col).flatten(1), score[regular]
    best = torch.full_like(of_regular, -torch.inf).scatter_reduce_(1, square, of_regular, "amax")
    score[regular] = torch.where(of_regular == best.gather(1, square), of_regular, of_regular - 1e3)

    most = int(n_data.max())
    cell = score.topk(most, dim=1).indices  # (n_fields, most), best first
    wanted = torch.arange(most, device=device) < n_data[:, None]
    return torch.zeros_like(score, dtype=torch.bool).scatter_(1, cell, wanted).view(fields.shape)
