"""Numbers in sentences: counted nouns, and shares in percent."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """
    Return a number with the word or words that follow it.

    Parameters
    ----------
    number : int
        How many.
    one : str
        What follows 1, such as 'row' or 'lies outside'.
    many : str
        What follows any other number; by default `one` with an s.
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def percent(share: float, decimals: int = 0, sign: str = "") -> str:
    """
    Return a share in percent, as '9 %'.

    Parameters
    ----------
    share : float
        1 for all.
    decimals : int
        Figures behind the point.
    sign : str
        '+' to have a sign before positive numbers, too.
    """
    return f"{100 * share:{sign}.{decimals}f} %"
