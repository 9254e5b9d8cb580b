"""The facies table: user's code <-> class index <-> name <-> colour."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from .errors import FaciesError

_COLOR = re.compile("#[0-9a-fA-F]{6}")

Value = Union[int, str]
"""What a layer or a raster says of a facies: its code, or its name."""

MAX_CODE = 2**31 - 1
"""Largest code of a facies, whatever its sign: rasters hold no larger ones."""
MAX_FACIES = 32
"""Most facies that a model can tell apart."""

PALETTE = (
    # Okabe and Ito (2008), eight colours that stay distinct with every common kind of colour blindness;
    # black comes late because it hides observations drawn on it, and as a grey that has darker shades, too. The rest
    # are lighter and darker shades of them.
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999",
    "#7a5500", "#a8d8f4", "#005c43", "#8f8620", "#003d60", "#f2a679", "#7d3f63", "#404040",
)  # fmt: skip


@dataclass(frozen=True)
class Facies:
    """One facies: the user's code, its name and its colour (`#rrggbb`)."""

    code: int
    name: str
    color: str


@dataclass(frozen=True)
class FaciesTable:
    """
    The facies of a simulation; the position of a facies is its class index.

    Parameters
    ----------
    facies : sequence of Facies
        2 to `MAX_FACIES` facies with different codes and names.

    Raises
    ------
    FaciesError
        For too few or too many facies, codes or names that occur twice, or a colour that is none.
    """

    facies: Tuple[Facies, ...]

    def __post_init__(self) -> None:
        check_facies_count(len(self.facies), [f.name for f in self.facies])
        for what in ("code", "name"):
            values = [getattr(f, what) for f in self.facies]
            twice = sorted({str(v) for v in values if values.count(v) > 1})
            if twice:
                raise FaciesError(
                    f"Some facies have the same {what}: {', '.join(twice)}. Each facies needs its own {what}."
                )
        for facies in self.facies:
            if not _COLOR.fullmatch(facies.color):
                raise FaciesError(
                    f"The colour {facies.color!r} of the facies {facies.name!r} cannot be read. Write it as #rrggbb."
                )

    def __len__(self) -> int:
        return len(self.facies)

    @property
    def codes(self) -> np.ndarray:
        """The user's codes by class index, int64, shape (n_facies,)."""
        return np.array([f.code for f in self.facies], dtype=np.int64)

    @property
    def names(self) -> List[str]:
        """The names by class index."""
        return [f.name for f in self.facies]

    @property
    def colors(self) -> List[str]:
        """The colours by class index."""
        return [f.color for f in self.facies]

    def class_index(self, codes: np.ndarray) -> np.ndarray:
        """
        Return the class index of each code.

        Parameters
        ----------
        codes : array of int
            The user's codes.

        Raises
        ------
        FaciesError
            When a code is not in the table.
        """
        codes = np.asarray(codes, dtype=np.int64)
        order = np.argsort(self.codes)
        position = np.searchsorted(self.codes[order], codes).clip(0, len(self) - 1)
        index = order[position]
        unknown = np.unique(codes[self.codes[index] != codes])
        if unknown.size:
            raise FaciesError(
                f"These facies codes are not in the facies table: {', '.join(map(str, unknown[:5]))}. It has "
                f"{', '.join(f'{f.code} {f.name}' for f in self.facies)}."
            )
        return index

    def class_map(self, codes: np.ndarray, known: np.ndarray) -> np.ndarray:
        """
        Return the class indices of a raster of codes.

        Parameters
        ----------
        codes : array, shape (n_rows, n_cols)
            User's codes.
        known : bool array, shape (n_rows, n_cols)
            Where they count.

        Returns
        -------
        int16 array, shape (n_rows, n_cols)
            -1 where nothing is known.

        Raises
        ------
        FaciesError
            When a code is not in the table.
        """
        class_map = np.full(codes.shape, -1, dtype=np.int16)
        class_map[known] = self.class_index(codes[known])
        return class_map

    def to_list(self) -> List[dict[str, Any]]:
        """Return a JSON-ready description."""
        return [{"code": f.code, "name": f.name, "color": f.color} for f in self.facies]

    @classmethod
    def from_list(cls, description: Sequence[Mapping[str, Any]]) -> FaciesTable:
        """Rebuild the table from `to_list`."""
        return cls(tuple(Facies(int(f["code"]), str(f["name"]), str(f["color"])) for f in description))


def are_codes(values: np.ndarray) -> np.ndarray:
    """Return which values, of any type of numbers, can be codes of facies: whole numbers up to `MAX_CODE`."""
    is_code: np.ndarray = (np.abs(values.astype(float)) <= MAX_CODE) & (values == np.round(values))
    return is_code


def check_facies_count(n_facies: int, names: Sequence[str]) -> None:
    """Raise `FaciesError` unless there are 2 to `MAX_FACIES` facies."""
    if n_facies < 2:
        only = f" (only {names[0]!r})" if names else ""
        raise FaciesError(
            f"The observations or the map hold {n_facies} facies{only}; at least 2 are needed, for there is nothing to "
            "predict otherwise. Check the facies field and the selection of observations, or the band of the map."
        )
    if n_facies > MAX_FACIES:
        raise FaciesError(
            f"The observations or the map hold {n_facies} facies; at most {MAX_FACIES} are possible. "
            "Is this the right field or band? Otherwise group rare facies together."
        )


def sort_facies(values: Iterable[Any]) -> List[Any]:
    """Return different values, all integers or all texts, in order: numbers by value, other texts by letters."""
    unique = sorted(set(values))
    try:
        numbers = {value: float(value) for value in unique}
    except ValueError:
        return sorted(unique, key=str.casefold)  # capitals do not come before all other letters
    return sorted(unique, key=numbers.__getitem__) if all(map(math.isfinite, numbers.values())) else unique


def build_facies_table(
    values: Sequence[Any],
    styles: Optional[Mapping[Any, Tuple[Optional[str], Optional[str]]]] = None,
) -> FaciesTable:
    """
    Make the facies table of observed values.

    Integers keep their value as code. Texts are sorted by name, numbers by value, and numbered from 1, so the
    same set of names gets the same codes everywhere.

    Parameters
    ----------
    values : sequence of int or str
        The observed values, repeated or not, all integers or all texts.
    styles : mapping, optional
        Value to (name, colour); either may be None. What is missing comes from the value and from `PALETTE`.

    Raises
    ------
    FaciesError
        When the values have fewer than 2 or more than `MAX_FACIES` different facies.
    """
    unique = sort_facies(values)
    check_facies_count(len(unique), [str(v) for v in unique])
    taken = {(styles or {}).get(v, (None, None))[1] for v in unique}
    free = [color for color in PALETTE if color not in taken]
    labels = {v: ((styles or {}).get(v, (None, None))[0] or "").strip() or str(v) for v in unique}
    occurs = Counter(labels.values())
    facies: List[Facies] = []
    names = set()
    for position, value in enumerate(unique):
        name, color = labels[value], (styles or {}).get(value, (None, None))[1]
        if occurs[name] > 1 and name != str(value):  # a style that shows several facies as one
            name = f"{name} ({value})"
        while name in names:
            name = f"{name} ({value})"
        names.add(name)
        code = value if isinstance(value, (int, np.integer)) else position + 1
        facies.append(Facies(int(code), name, color or _fallback_color(position, free)))
    return FaciesTable(tuple(facies))


def match_facies(
    values: Iterable[Value], labels: Mapping[Value, Optional[str]], known: FaciesTable
) -> Dict[Value, Optional[int]]:
    """
    Return which of some known facies the values of a layer or of a raster are.

    Names tell before numbers: texts are names, or are shown under one; whole numbers are codes, unless each of them is
    shown under the name of a known facies. A name in another case counts where no other one could be meant.

    Parameters
    ----------
    values : iterable of int or str
        Repeated or not.
    labels : mapping of int or str to str or None
        The name under which the layer or raster shows a value, where it has one.
    known : FaciesTable
        The facies of a model or a map.

    Returns
    -------
    dict of int or str to int or None
        The class index of each value; None for one that is no known facies.

    Raises
    ------
    FaciesError
        When some, not all, numbers are shown under names of known facies, and one of these has another code.
    """
    names = [composed(name) for name in known.names]
    exactly, in_any_case = _positions(names), _positions([name.casefold() for name in names])

    def by_name(value: Value) -> Optional[int]:
        label = composed(labels.get(value) or "")
        texts = [f"{label} ({value})", label] if label not in ("", str(value)) else []
        if isinstance(value, str):
            texts.insert(0, composed(value))
        found = (exactly.get(text, in_any_case.get(text.casefold())) for text in texts)
        return next((k for k in found if k is not None), None)

    named = {value: by_name(value) for value in set(values)}
    if None not in named.values() or all(isinstance(value, str) for value in named):
        return named
    by_code = {f.code: k for k, f in enumerate(known.facies)}
    for value, k in named.items():
        if k is not None and k != by_code.get(int(value)):
            raise FaciesError(
                f"The code {value} is called {labels[value]!r} in the layer or raster, which has the code "
                f"{known.facies[k].code} here, among {', '.join(f'{f.code} ({f.name})' for f in known.facies)}; other "
                "codes there have no name that is known here. Give each of them one of these names, or none of them "
                "any, or recode them."
            )
    return {value: by_code.get(int(value)) for value in named}


def composed(text: str) -> str:
    """Return a text without blanks around it, and with accents in the one way of two to write them."""
    return unicodedata.normalize("NFC", text.strip())


def _positions(texts: Sequence[str]) -> Dict[str, int]:
    """Return where each text stands, without those that stand at several places."""
    return {text: k for k, text in enumerate(texts) if texts.count(text) == 1}


def _fallback_color(position: int, palette: Sequence[str]) -> str:
    """Return a palette colour; past its end, the same hues again, each round darker."""
    colors = palette or PALETTE
    red, green, blue = (int(colors[position % len(colors)][i : i + 2], 16) for i in (1, 3, 5))
    shade = 0.72 ** (position // len(colors))
    return f"#{int(red * shade):02x}{int(green * shade):02x}{int(blue * shade):02x}"
