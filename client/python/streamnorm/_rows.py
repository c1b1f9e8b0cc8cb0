"""Rows in, and the same kind of rows out: NumPy, torch, pandas."""

from __future__ import annotations

import sys
from typing import Any, Callable, List, NamedTuple, Optional, Sequence

import numpy as np

from ._errors import SchemaMismatch, ShapeMismatch, TypeMismatch
from ._types import BF16, FP16, FP32, FP64

DATATYPES = {np.dtype("<f4"): FP32, np.dtype("<f8"): FP64,
             np.dtype("<f2"): FP16}


class Rows(NamedTuple):
    """Rows as they go on the wire, and the way back."""

    array: np.ndarray  # [rows, features], row-major; BF16 as its bits
    datatype: int
    rebuild: Callable[[np.ndarray], Any]  # what was given, with other values


class Columns(NamedTuple):
    """What a normalizer wants of a row."""

    name: str
    features: int
    names: Sequence[str]


def take_rows(x: Any, columns: Columns) -> Rows:
    """`x`: [rows, features], or [features] for one row. Whole numbers become
    float64 (those of torch its default dtype)."""
    if isinstance(x, np.ndarray):
        return _take_array(x, columns)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        return _take_tensor(torch, x, columns)
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(x, pandas.DataFrame):
        return _take_frame(pandas, x, columns)
    if isinstance(x, (list, tuple)) or hasattr(x, "__array__"):
        try:
            return _take_array(np.asarray(x, np.float64), columns)
        except (TypeError, ValueError) as error:
            raise TypeMismatch(f"input: {error}, want numbers",
                               field="input") from None
    raise TypeMismatch(
        f"input: {type(x).__module__}.{type(x).__name__}, want a NumPy array, "
        "a torch tensor or a pandas DataFrame", field="input")


def _plain(array: np.ndarray) -> Rows:
    datatype = DATATYPES.get(array.dtype)
    if datatype is None:
        if array.dtype.kind in "biu":
            return _plain(array.astype("<f8"))
        if array.dtype.kind != "f" or array.dtype.itemsize > 8:
            raise TypeMismatch(
                f"input.datatype: {array.dtype}, want float16, float32, "
                "float64 or whole numbers", field="input.datatype")
        return _plain(array.astype(array.dtype.newbyteorder("<")))
    return Rows(np.ascontiguousarray(array), datatype, _as_it_is)


def _as_it_is(output: np.ndarray) -> Any:
    return output


def _first_row(output: np.ndarray) -> Any:
    return output[0]


def _two_dimensional(x: Any, columns: Columns) -> bool:
    """Checks the shape; False: one row without its dimension."""
    shape = x.shape
    if len(shape) not in (1, 2):
        raise ShapeMismatch(
            f"input.shape: {list(shape)}, want [rows, {columns.features}] or "
            f"[{columns.features}]", field="input.shape")
    if shape[-1] != columns.features:
        axis = len(shape) - 1
        raise ShapeMismatch(
            f"input.shape[{axis}]: {shape[-1]}, want {columns.features} "
            f"({columns.name} has {columns.features} features)",
            field=f"input.shape[{axis}]")
    if shape[0] == 0:
        raise ShapeMismatch("input.shape[0]: 0, want at least 1 row",
                            field="input.shape[0]")
    return len(shape) == 2


def _take_array(x: np.ndarray, columns: Columns) -> Rows:
    if _two_dimensional(x, columns):
        return _plain(x)
    rows = _plain(x.reshape(1, -1))
    return rows._replace(rebuild=_first_row)


def _take_tensor(torch: Any, x: Any, columns: Columns) -> Rows:
    """Gradients don't pass; the result is on the tensor's device."""
    two_dimensional = _two_dimensional(x, columns)
    tensor = x.detach()
    if not tensor.is_floating_point():
        tensor = tensor.to(torch.get_default_dtype())
    is_bfloat = tensor.dtype == torch.bfloat16
    tensor = tensor.cpu().contiguous().reshape(-1, columns.features)
    if is_bfloat:
        bits = tensor.view(torch.int16).numpy().view(np.uint16)
        rows = Rows(bits, BF16, _as_it_is)
    else:
        rows = _plain(tensor.numpy())

    def rebuild(output: np.ndarray) -> Any:
        if is_bfloat:
            result = torch.from_numpy(output.view(np.int16)).view(
                torch.bfloat16)
        else:
            result = torch.from_numpy(output)
        return (result if two_dimensional else result[0]).to(x.device)

    return rows._replace(rebuild=rebuild)


def _take_frame(pandas: Any, frame: Any, columns: Columns) -> Rows:
    """Columns are matched by name where the normalizer has names."""
    order = _order_of(list(map(str, frame.columns)), columns)
    try:
        values = frame.to_numpy(dtype=_common_dtype(frame), na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise TypeMismatch(f"input: {error}, want columns of numbers",
                           field="input") from None
    _two_dimensional(values, columns)
    rows = _plain(values if order is None else values[:, order])
    dtypes = list(frame.dtypes)

    def rebuild(output: np.ndarray) -> Any:
        if order is not None:
            mixed, output = output, np.empty_like(output)
            output[:, order] = mixed
        result = pandas.DataFrame(output, index=frame.index,
                                  columns=frame.columns)
        if len(set(dtypes)) > 1 and frame.columns.is_unique:
            result = result.astype({
                name: dtype for name, dtype in zip(frame.columns, dtypes)
                if _is_float(dtype)})
        return result

    return rows._replace(rebuild=rebuild)


def _is_float(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype in DATATYPES


def _common_dtype(frame: Any) -> Any:
    dtypes = [d if _is_float(d) else np.dtype("f8") for d in frame.dtypes]
    return np.result_type(*dtypes) if dtypes else np.dtype("f8")


def _order_of(given: List[str], columns: Columns) -> Optional[List[int]]:
    """Where each feature is among the columns; None: as they stand."""
    wanted = list(columns.names)
    if not wanted or given == wanted:
        return None
    problems = []
    missing = [name for name in wanted if name not in given]
    unknown = [name for name in given if name not in wanted]
    if missing:
        problems.append(f"missing {shortened(missing)}")
    if unknown:
        problems.append(f"unknown {shortened(unknown)}")
    if len(given) != len(set(given)):
        problems.append("a column stands twice")
    if problems:
        raise SchemaMismatch(
            f"input.columns: {', '.join(problems)}, want the {len(wanted)} "
            f"feature names of {columns.name}", reason="SCHEMA_MISMATCH",
            field="input.columns")
    return [given.index(name) for name in wanted]


def shortened(names: Sequence[str], most: int = 5) -> str:
    rest = len(names) - most
    return ", ".join(map(repr, names[:most])) + (
        f" and {rest} more" if rest > 0 else "")
