"""One Normalize after the other over the C library, through ctypes: what a
Python training job pays that uses no grpcio.

Until client/c exists this says that it is not built. To switch it on, fill in
the calls of client/c/streamnorm.h here; library.py needs nothing else.
"""

import ctypes
import os


class LibraryCall:
    """A session on one normalizer; call it with rows, get normalized rows."""

    def __init__(self, library, address, normalizer, features):
        raise NotImplementedError("the calls of client/c/streamnorm.h")

    def __call__(self, rows):
        raise NotImplementedError

    def close(self):
        pass


def load(build):
    """The library of this build, or None."""
    path = os.path.join(build, "client", "c", "libstreamnorm.so")
    return ctypes.CDLL(path) if os.path.exists(path) else None
