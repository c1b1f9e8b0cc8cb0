"""scikit-learn's StandardScaler over a server.

    StandardScaler()                    private to the estimator
    StandardScaler(name="layer3")       shared by all processes that name it
"""

from __future__ import annotations

import os
import threading
import uuid
import weakref
from typing import Any, Optional

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import (FLOAT_DTYPES, check_array,
                                      check_is_fitted)

from ._client import Client, connect
from ._errors import Error
from ._normalizer import Normalizer

_lock = threading.Lock()
_clients: Any = {}


def default_client(server: Optional[str]) -> Client:
    """The process's client of `server`; by default of STREAMNORM_SERVER, or
    else of a private server."""
    address = server or os.environ.get("STREAMNORM_SERVER") or ":memory:"
    with _lock:
        if address not in _clients:
            _clients[address] = connect(address)
        return _clients[address]


def _delete(normalizer: Normalizer, owner: int) -> None:
    if os.getpid() != owner:
        return  # a child of a fork: it is its parent's
    try:
        normalizer.delete()
    except Error:
        pass  # its server is gone, and it with it


class StandardScaler(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """z = (x - mean) / standard deviation (ddof 0), as
    sklearn.preprocessing.StandardScaler; constant features are divided by 1,
    NaN are left out and kept. The statistics are the server's.

    name : str or None
        None: a normalizer private to this estimator, deleted with it; `fit`
        begins anew. Else that normalizer, shared: `fit` then counts the rows
        besides those of others and forgets nothing, `transform` uses what all
        counted.
    server : str or None
        An address; None: STREAMNORM_SERVER, or a private server.
    with_mean, with_std : bool
        Centre; divide. A shared normalizer has to agree.

    After fit: mean_, var_, scale_ (float64 [n_features_in_]), n_samples_seen_
    (an int, or one per feature where values were missing), as of this
    estimator's last fit or partial_fit. Pickled, an unnamed estimator takes
    its statistics along and has a normalizer of its own where it is unpickled.
    """

    def __init__(self, name: Optional[str] = None, *,
                 server: Optional[str] = None, with_mean: bool = True,
                 with_std: bool = True) -> None:
        self.name = name
        self.server = server
        self.with_mean = with_mean
        self.with_std = with_std

    def fit(self, X: Any, y: Any = None) -> "StandardScaler":
        """Statistics of X, [rows, features]; ValueError if it has other than
        finite numbers and NaN."""
        self._forget()
        return self.partial_fit(X, y)

    def partial_fit(self, X: Any, y: Any = None) -> "StandardScaler":
        """Counts the rows of X besides those before."""
        first = not hasattr(self, "n_samples_seen_")
        X = self._checked(X, reset=first)
        normalizer = self._normalizer()
        normalizer.partial_fit(X)
        self._learn(normalizer)
        return self

    def transform(self, X: Any, copy: Any = None) -> Any:
        """X normalized; counts nothing."""
        check_is_fitted(self)
        return self._normalizer().transform(self._checked(X))

    def inverse_transform(self, X: Any, copy: Any = None) -> Any:
        """X as it was before `transform`."""
        check_is_fitted(self)
        X = check_array(X, dtype=FLOAT_DTYPES, force_all_finite="allow-nan",
                        estimator=self)
        scale = self.scale_ if self.with_std else 1.0
        offset = self.mean_ if self.with_mean else 0.0
        return (X * scale + offset).astype(X.dtype)

    # Its normalizer.

    def _checked(self, X: Any, reset: bool = False) -> Any:
        return self._validate_data(X, reset=reset, dtype=FLOAT_DTYPES,
                                   force_all_finite="allow-nan",
                                   estimator=self)

    def _forget(self) -> None:
        for attribute in ("_held", "mean_", "var_", "scale_",
                          "n_samples_seen_"):
            self.__dict__.pop(attribute, None)

    def _normalizer(self) -> Normalizer:
        held = self.__dict__.setdefault("_held", _Held())
        return held.get(self)

    def _make(self) -> Normalizer:
        name = self.name or f"sklearn-{uuid.uuid4().hex}"
        normalizer = default_client(self.server).normalizer(
            name, self.n_features_in_, center=self.with_mean,
            scale=self.with_std, minimum_rows=1)
        if self.name is None and hasattr(self, "_moments"):
            self._restore(normalizer)
        return normalizer

    def _learn(self, normalizer: Normalizer) -> None:
        found = normalizer.statistics()
        uniform = (found.count == found.row_count).all()
        self.n_samples_seen_ = (int(found.row_count) if uniform
                                else found.count.astype(np.int64))
        self._moments = found
        self.mean_ = found.mean if self.with_mean or self.with_std else None
        self.var_ = found.variance if self.with_std else None
        self.scale_ = 1.0 / found.scale if self.with_std else None

    def _restore(self, normalizer: Normalizer) -> None:
        found = self._moments
        normalizer.merge(
            found.row_count, found.mean, found.variance * found.count,
            feature_counts=found.count, minimum=found.minimum,
            maximum=found.maximum)

    def __getstate__(self) -> Any:
        state = super().__getstate__()
        state.pop("_held", None)
        return state

    def _more_tags(self) -> Any:
        return {"allow_nan": True, "preserves_dtype": [np.float64,
                                                       np.float32]}


class _Held:
    """A normalizer, made when it is first needed; a private one is its
    process's alone."""

    def __init__(self) -> None:
        self._normalizer: Optional[Normalizer] = None
        self._owner = os.getpid()

    def get(self, scaler: StandardScaler) -> Normalizer:
        normalizer = self._normalizer
        if normalizer is None or (
                scaler.name is None and self._owner != os.getpid()):
            self._owner = os.getpid()
            normalizer = self._normalizer = scaler._make()
            if scaler.name is None:
                weakref.finalize(self, _delete, normalizer,
                                 self._owner).atexit = False
        return normalizer

    def __deepcopy__(self, memo: Any) -> "_Held":
        return _Held()
