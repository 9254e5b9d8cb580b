"""The card of a model on a hub: what it draws, what it was made of, how good it is, and how it is used."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from ..contract.model_header import bits_per_cell, excess_bits
from ..model.facies_model import FaciesModel
from ..reports.drawing import paletted_png
from ..sampling.realizations import simulate_freely

PICTURE = "example.png"
_SIDE, _SHOWN, _GAP, _SCALE = 128, 3, 4, 2
_LICENCES = {
    **dict.fromkeys(("GPL-3.0-only", "GPL-3.0-or-later"), "gpl-3.0"),
    **{name: name.lower() for name in ("MIT", "Apache-2.0", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0")},
}
"""What the hub calls the licences that it knows."""


def draw_example(model: FaciesModel) -> bytes | None:
    """Return a PNG of realizations without data, side by side; None for a model without facies of its own."""
    if model.facies is None:
        return None
    quality = "standard" if "standard" in model.schedules else next(iter(model.schedules))
    maps = simulate_freely(model, _shown_shape(model), _SHOWN, quality=quality).astype(int)
    row = np.concatenate([np.pad(one, ((0, 0), (0, _GAP)), constant_values=-1) for one in maps], axis=1)[:, :-_GAP]
    return paletted_png(row.repeat(_SCALE, axis=0).repeat(_SCALE, axis=1), model.facies.colors)


def model_card(model: FaciesModel, *, repository: str, file: str, sha256: str, has_picture: bool) -> str:
    """
    Return a model's card in Markdown, with the metadata that the hub reads at its top.

    Parameters
    ----------
    model : FaciesModel
        What is described.
    repository, file : str
        Where it will be: USER/NAME, and the file there.
    sha256 : str
        The file's checksum.
    has_picture : bool
        Whether the repository has the picture of `draw_example`.
    """
    parts = [_metadata(model), f"# {_plain(model.name)}", _lead(model)]
    if has_picture:
        parts.append(f"![Three realizations without data]({PICTURE})")
        n_rows, n_cols = _shown_shape(model)
        parts.append(f"Three realizations of {n_rows} x {n_cols} cells without data.")
    if model.facies is not None:
        rows = [(facies.code, facies.name, facies.color) for facies in model.facies.facies]
        parts += ["## Facies", _table(("code", "name", "colour"), rows)]
    parts += ["## What it was made of", _table(("", ""), _makings(model))]
    parts += ["## Schedules", _schedules(model)]
    parts += ["## How to use it", _usage(repository, file, sha256)]
    return "\n\n".join(parts) + "\n"


def _shown_shape(model: FaciesModel) -> tuple[int, int]:
    """Return rows and columns of the realizations in the picture: those of the images of a set, where it learnt one."""
    image = model.provenance.get("image") or {}
    if "n_images" in image:
        return int(image["n_rows"]), int(image["n_cols"])
    side = model.side or _SIDE
    return side, side


def _metadata(model: FaciesModel) -> str:
    """Return the block at the top; the hub knows some licences by names of its own."""
    known = _LICENCES.get(model.licence)
    licence = [f"license: {known}"] if known else ["license: other", f"license_name: {_identifier(model.licence)}"]
    lines = ["library_name: oadg", *licence, "tags:", "- geostatistics", "- geology", "- facies", "- qgis"]
    return "\n".join(["---", *lines, "---"])


def _lead(model: FaciesModel) -> str:
    facies = f"of the {len(model.facies)} facies below" if model.facies else f"of up to {model.max_facies} facies"
    return (
        f"A model that draws maps {facies}, on condition that they honour observations (boreholes, outcrops). It is "
        "used by OADG, a plugin of QGIS."
    )


def _makings(model: FaciesModel) -> list[tuple[object, object]]:
    """Return what is known of the training image and the training; what is not known is said to be so."""
    provenance = model.provenance
    image: dict[str, Any] = provenance.get("image") or {}
    rows: list[tuple[object, object]] = [
        ("Training image", provenance.get("learnt_from") or "not told"),
        ("Its licence", provenance.get("image_licence") or "see its source"),
    ]
    if "n_rows" in image:
        number = f"{image['n_images']:,} images of " if "n_images" in image else ""
        rows.append(("Its size", f"{number}{image['n_rows']:,} rows x {image['n_cols']:,} columns"))
        rows.append(("Its symmetry", image.get("symmetry", "none")))
    cell_size = "any" if model.facies is None else "not told"
    rows.append(("Cell size", cell_size if model.cell_size is None else f"{model.cell_size:g} m"))
    bits = bits_per_cell(provenance)
    rows.append(("Bits per cell, held out", "not told" if bits is None else f"{bits:.4f}"))
    rows.append(("Steps", f"{provenance['steps_done']:,}" if "steps_done" in provenance else "not told"))
    rows.append(("Started from", _name_of(provenance.get("started_from"))))
    rows.append(("Made", provenance.get("made", "not told")))
    rows.append(("Model", model.model_id))
    rows.append(("Licence of the model", model.licence))
    return rows


def _schedules(model: FaciesModel) -> str:
    """Return the qualities with their numbers of passes, what they cost and add, and how probabilities are asked."""
    excess = excess_bits(model.provenance)
    rows = []
    for quality, schedule in model.schedules.items():
        bits = f"{excess[quality]:.4f}" if quality in excess else "not measured"
        logits = schedule.balance[-1] if schedule.balance else ()
        rows.append((quality, len(schedule.refined[0]), bits, ", ".join(f"{x:+.3f}" for x in logits) or "nothing"))
    drawn = "the mean over coarse lattices that are drawn"
    asked = {0.0: "asked at once", 1.0: drawn}
    partly = f"{model.expected_share:.0%} {drawn}, the rest asked at once"
    return (
        _table(("quality", "passes at full resolution", "cost (bits per cell)", "added to logits of facies"), rows)
        + "\n\nThe cost is how many bits per cell a quality loses against 'fine'. Logits are added on the coarsest "
        "lattices, so that the facies have the shares that the image has. Probabilities given data are "
        f"{asked.get(model.expected_share, partly)}."
    )


def _usage(repository: str, file: str, sha256: str) -> str:
    return (
        f"In QGIS, with the plugin OADG: Processing toolbox, OADG, *Install model*, repository `{repository}`. Or:\n\n"
        f"    qgis_process run oadg:installmodel -- REPOSITORY={repository}\n\n"
        f"SHA-256 of `{file}`: `{sha256}`"
    )


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(_plain(cell) for cell in line) + " |" for line in lines)


def _plain(value: object) -> str:
    """Return a text in which nothing is markup, nor ends a cell of a table."""
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", " ".join(str(value).split()))


def _identifier(text: str) -> str:
    """Return a text that YAML takes as it is."""
    return re.sub(r"[^a-z0-9.-]+", "-", text.lower()).strip("-.") or "unknown"


def _name_of(start: object) -> object:
    """Return which model a training started from."""
    if isinstance(start, dict):
        return start.get("model", "not told")
    return start or "nothing"
