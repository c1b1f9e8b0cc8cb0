"""StreamNorm: running statistics per feature, kept by a server.

    import streamnorm
    with streamnorm.connect(":memory:") as client:
        n = client.normalizer("layer3", features=32)
        z = n(x)              # counts the rows of x, answers them normalized
        with n.frozen():      # evaluation
            z = n(x)

Import it before grpc: only then can processes that use it be forked.
Manual: docs/python.md.
"""

import os as _os
import pkgutil as _pkgutil

# Stubs of the API (./run stubs) are streamnorm.v1: they may stand elsewhere.
__path__ = _pkgutil.extend_path(__path__, __name__)

# Read when grpc is imported.
_os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "1")

from . import _fork  # noqa: E402, F401  before grpc
from ._client import Client, connect  # noqa: E402
from ._errors import (Aborted, AlreadyExists, Cancelled,  # noqa: E402
                      DataLoss, DeadlineExceeded, Error, FailedPrecondition,
                      Frozen, Internal, InvalidArgument, NotFound,
                      NotWarmedUp, OutOfRange, PermissionDenied,
                      ResourceExhausted, SchemaMismatch, ShapeMismatch,
                      TypeMismatch, Unauthenticated, Unavailable,
                      Unimplemented, Unknown)
from ._exchange import Exchange  # noqa: E402
from ._messages import VERSION as __version__  # noqa: E402
from ._normalizer import FeatureColumns, Normalizer  # noqa: E402
from ._snapshot import Snapshot  # noqa: E402
from ._types import Answer, Mode, Statistics  # noqa: E402

__all__ = [
    "Aborted", "AlreadyExists", "Answer", "Cancelled", "Client", "DataLoss",
    "DeadlineExceeded", "Error", "Exchange", "FailedPrecondition",
    "FeatureColumns", "Frozen", "Internal", "InvalidArgument", "Mode",
    "Normalizer", "NotFound", "NotWarmedUp", "OutOfRange", "PermissionDenied",
    "ResourceExhausted", "SchemaMismatch", "ShapeMismatch", "Snapshot",
    "Statistics", "TypeMismatch", "Unauthenticated", "Unavailable",
    "Unimplemented", "Unknown", "connect", "__version__"]
