"""The errors that users see: what, where, value, rule, remedy, in sentences."""

from __future__ import annotations


class OadgError(Exception):
    """Base of every error whose message is meant for the user, word for word."""


class GridError(OadgError):
    """A simulation grid that cannot be: a bad cell size, extent or number of cells."""


class FaciesError(OadgError):
    """A facies table that cannot be: too few or too many facies, an unknown code."""


class ConditioningError(OadgError):
    """Conditioning data that cannot be placed on the grid."""


class ModelError(OadgError):
    """A model file that cannot be used: missing, truncated, foreign, or of another version."""


class JobError(OadgError):
    """A job that cannot be carried out as it is written."""


class DeviceError(OadgError):
    """A device that is not there, or whose memory does not suffice."""


class EngineError(OadgError):
    """The engine process could not be started, broke the protocol, or ended before its result."""


class Cancelled(OadgError):
    """The user cancelled the run; nothing is kept."""


class TrainingImageError(OadgError):
    """A training image that nothing can be learnt from as it is."""


class HubError(OadgError):
    """A repository of models that cannot be reached, or does not hold what is asked for."""
