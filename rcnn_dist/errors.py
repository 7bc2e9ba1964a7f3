"""Every error that a user can meet, each naming its subject and the next step; `exit_code` is how the command then ends.

RcnnError
├── ConfigError
├── DataError
│   ├── BadImageError
│   └── BadAnnotationError
├── StoreError
│   ├── MissingShardError
│   └── DamagedFileError
├── TooManyFailuresError
├── ClusterError
└── RunStoppedError
"""

__all__ = [
    "BadAnnotationError",
    "BadImageError",
    "ClusterError",
    "ConfigError",
    "DamagedFileError",
    "DataError",
    "MissingShardError",
    "RcnnError",
    "RunStoppedError",
    "StoreError",
    "TooManyFailuresError",
]


class RcnnError(Exception):
    """Any of these errors."""

    exit_code = 1


class ConfigError(RcnnError):
    """The command or its configuration is wrong."""

    exit_code = 2


class DataError(RcnnError):
    """An input of the user's cannot be used."""


class BadImageError(DataError):
    """One image cannot be used: it becomes a row of the failures table."""


class BadAnnotationError(DataError):
    """An annotation cannot be read, or says what cannot be."""


class StoreError(RcnnError):
    """A file of a run cannot be used."""


class MissingShardError(StoreError):
    """A part that another needs is not complete."""


class DamagedFileError(StoreError):
    """A file does not hold what was written, or what should be equal differs."""


class TooManyFailuresError(RcnnError):
    """More images failed than the limit allows."""

    exit_code = 3


class ClusterError(RcnnError):
    """The cluster cannot give what was asked for."""


class RunStoppedError(RcnnError):
    """Stopped in order: the same command goes on where this one ended."""

    exit_code = 75
