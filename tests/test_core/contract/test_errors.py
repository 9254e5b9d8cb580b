"""Every error that users see is an OadgError, so that one `except` at QGIS's edge catches them all."""

from __future__ import annotations

import inspect

import pytest

from oadg.core.contract import errors

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if cls.__module__ == errors.__name__]


def test_the_module_holds_errors_only():
    assert len(CLASSES) >= 2
    assert all(issubclass(cls, errors.OadgError) for cls in CLASSES)


@pytest.mark.parametrize("cls", CLASSES)
def test_the_message_is_kept_word_for_word(cls):
    message = "Cell (row 12, col 40) holds sand (2), clay (1)."
    assert str(cls(message)) == message


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_says_when_it_is_raised(cls):
    assert cls.__doc__.strip().endswith(".")
