"""Every error that a user can meet, each naming its subject and the next step.

RcnnError                 exit code 1
├── ConfigError           exit code 2: the command or its configuration is wrong
├── DataError             an input of the user's cannot be used
│   ├── BadImageError     one image: becomes a row of the failures table
│   └── BadAnnotationError
├── StoreError            a file of a run cannot be used
│   ├── MissingShardError
│   └── DamagedFileError
├── TooManyFailuresError  exit code 3: more failed images than the limit allows
├── ClusterError          the cluster cannot give what was asked for
└── RunStoppedError       exit code 75: stopped, can be resumed by the same command
"""


class RcnnError(Exception):
    exit_code = 1


class ConfigError(RcnnError):
    exit_code = 2


class DataError(RcnnError):
    pass


class BadImageError(DataError):
    pass


class BadAnnotationError(DataError):
    pass


class StoreError(RcnnError):
    pass


class MissingShardError(StoreError):
    pass


class DamagedFileError(StoreError):
    pass


class TooManyFailuresError(RcnnError):
    exit_code = 3


class ClusterError(RcnnError):
    pass


class RunStoppedError(RcnnError):
    exit_code = 75
