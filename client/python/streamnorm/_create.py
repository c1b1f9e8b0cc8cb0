"""What a normalizer is to be, and whether it is."""

from __future__ import annotations

import re
from typing import Any, Dict, Optional, Sequence

from . import _messages
from ._errors import InvalidArgument, SchemaMismatch
from ._rows import shortened

PREFIX = "normalizers/"
ID = re.compile(r"[a-z][a-z0-9._-]{0,127}")

SCALING = {"epsilon", "epsilon_mode", "clip", "center", "scale"}
NONFINITE = {"nan", "infinity"}
OTHERS = {"minimum_rows", "warm_up", "labels"}


def id_of(name: str) -> str:
    """`name` with or without normalizers/."""
    if not isinstance(name, str) or not ID.fullmatch(
            name[len(PREFIX):] if name.startswith(PREFIX) else name):
        raise InvalidArgument(
            f"normalizer_id: {name!r}, want [a-z][a-z0-9._-]{{0,127}}",
            reason="INVALID_ARGUMENT", field="normalizer_id")
    return name[len(PREFIX):] if name.startswith(PREFIX) else name


def create_request(normalizer_id: str, features: Optional[int],
                   preset: Optional[str],
                   feature_names: Optional[Sequence[str]],
                   settings: Dict[str, Any]) -> Any:
    """A CreateNormalizerRequest; 0 features if none are given."""
    names = None if feature_names is None else [str(n) for n in feature_names]
    if features is None:
        features = len(names or ())
    elif features < 1 or (names is not None and len(names) != features):
        raise InvalidArgument(
            f"features: {features}, want " +
            (f"{len(names)}, as there are names" if names else "at least 1"),
            field="features")
    unknown = sorted(settings.keys() - SCALING - NONFINITE - OTHERS)
    if unknown:
        raise InvalidArgument(
            f"{unknown[0]}: no setting, want one of "
            f"{', '.join(sorted(SCALING | NONFINITE | OTHERS))}",
            field=unknown[0])
    request = _messages.request_of("CreateNormalizer")(
        normalizer_id=normalizer_id)
    request.normalizer.features = features
    request.normalizer.feature_names.extend(names or ())
    if preset is not None:
        request.normalizer.scaling.preset = preset
    _apply(request.normalizer, settings)
    return request


def _apply(normalizer: Any, settings: Dict[str, Any]) -> None:
    """An enum's value is given by its name."""
    for key, value in settings.items():
        if key == "labels":
            normalizer.labels.update(value)
            continue
        if isinstance(value, str):
            value = value.upper()
        group = getattr(normalizer, "scaling" if key in SCALING else
                        "nonfinite" if key in NONFINITE else "warm_up")
        field = "answer" if key == "warm_up" else key
        try:
            group.MergeFrom(type(group)(**{field: value}))
        except (TypeError, ValueError):
            raise InvalidArgument(f"{key}: {value!r}, want a value that "
                                  "docs/python.md lists", field=key) from None


def check_existing(found: Any, wanted: Any, settings: Dict[str, Any]) -> None:
    """`found` has what was asked for, as far as it was."""
    if wanted.features and found.features != wanted.features:
        raise _mismatch(found, "features", found.features, wanted.features)
    if wanted.feature_names and \
            list(found.feature_names) != list(wanted.feature_names):
        _raise_names(found, list(wanted.feature_names))
    if wanted.scaling.preset:
        preset = found.scaling.preset or "standard"
        if preset != wanted.scaling.preset:
            raise _mismatch(found, "scaling.preset", preset,
                            wanted.scaling.preset)
    for key in sorted(SCALING & settings.keys()):
        have, want = getattr(found.scaling, key), getattr(wanted.scaling, key)
        if have != want:
            raise _mismatch(found, f"scaling.{key}", have, want)


def _mismatch(found: Any, field: str, have: Any, want: Any) -> SchemaMismatch:
    return SchemaMismatch(
        f"{field}: {have!r}, want {want!r} ({found.name} exists)",
        reason="SCHEMA_MISMATCH", field=field)


def _raise_names(found: Any, wanted: Sequence[str]) -> None:
    have = list(found.feature_names)
    if not have:
        what = "it has none"
    elif sorted(have) == sorted(wanted):
        what = "the same in another order"
    else:
        what = shortened([n for n in have if n not in wanted] or have)
    raise SchemaMismatch(
        f"feature_names: {what}, want {shortened(wanted)} ({found.name} "
        "exists)", reason="SCHEMA_MISMATCH", field="feature_names")
