"""Shapes, element types, rows as numbers instead of bytes."""

import numpy as np
import pytest
from api import (BF16, FP16, FP32, FP64, TYPES, array, oracle, pb, rounded,
                 values)
from rows import FIRST, SECOND


def test_one_row_may_have_one_dimension(client):
    name = client.create(2).name
    client.count(name, FIRST)
    answer = client.normalize(name, SECOND[0], mode=pb.NORMALIZE_ONLY)
    assert list(answer.output.shape) == [2]
    np.testing.assert_array_equal(array(answer.output),
                                  client.look(name, SECOND)[0])
    assert client.count(name, SECOND[0]).counted_rows == 1


@pytest.mark.parametrize("datatype", TYPES)
@pytest.mark.parametrize("rows", [1, 2, 7, 64])
@pytest.mark.parametrize("features", [1, 3, 8, 17])
def test_every_type_is_counted_exactly_and_answered_rounded_once(
        client, datatype, rows, features):
    rng = np.random.default_rng([datatype, rows, features])
    x = rounded(rng.normal(3, 5, (rows, features)), datatype)
    past = rounded(rng.normal(3, 5, (9, features)), datatype)
    name = client.create(features).name
    client.count(name, past, datatype)
    answer = client.normalize(name, x, datatype)
    assert answer.output.datatype == datatype
    assert list(answer.output.shape) == [rows, features]
    mean, variance = oracle(np.concatenate([past, x]))
    columns = client.columns(name)
    np.testing.assert_allclose(columns["mean"], mean, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(columns["variance"], variance, rtol=1e-13)
    relative, absolute = TYPES[datatype]
    np.testing.assert_allclose(
        array(answer.output), (x - mean) / np.sqrt(variance),
        rtol=relative + 1e-14, atol=absolute + 1e-14)


@pytest.mark.parametrize("datatype", [FP16, BF16, FP32])
def test_subnormal_and_extreme_numbers_of_a_type_are_read_exactly(
        client, datatype):
    step = {FP16: 2.0 ** -24, BF16: 2.0 ** -133, FP32: 2.0 ** -149}[datatype]
    top = {FP16: 65504.0, BF16: 3.3895313892515355e38,
           FP32: float(np.finfo("f4").max)}[datatype]
    x = np.array([[step, top, -0.0], [3 * step, -top, 0.0]])
    np.testing.assert_array_equal(rounded(x, datatype), x)
    name = client.create(3).name
    client.count(name, x, datatype)
    columns = client.columns(name)
    np.testing.assert_array_equal(columns["minimum"], x.min(0))
    np.testing.assert_array_equal(columns["maximum"], x.max(0))
    np.testing.assert_array_equal(columns["mean"], [2 * step, 0, 0])


def test_types_may_change_from_request_to_request(client):
    name = client.create(2).name
    for datatype in TYPES:
        client.count(name, FIRST, datatype)
    np.testing.assert_allclose(client.columns(name)["variance"],
                               FIRST.var(0), rtol=1e-13)


def test_values_are_answered_as_values(client):
    name = client.create(2).name
    client.count(name, FIRST)
    for extra in ({}, {"datatype": FP64}):
        answer = client.call("Normalize", pb.NormalizeRequest(
            name=name, mode=pb.NORMALIZE_ONLY, input=values(SECOND, **extra)))
        assert not answer.output.data and answer.output.values
        assert list(answer.output.shape) == [2, 2]
        np.testing.assert_array_equal(array(answer.output),
                                      client.look(name, SECOND))


def test_values_are_counted_as_bytes_are(client):
    by_values, by_bytes = client.create(2).name, client.create(2).name
    client.call("Normalize", pb.NormalizeRequest(name=by_values,
                                                 input=values(FIRST)))
    client.normalize(by_bytes, FIRST)
    one, other = client.columns(by_values), client.columns(by_bytes)
    for field in one:
        np.testing.assert_array_equal(one[field], other[field])


def test_values_are_denormalized_as_values(client):
    name = client.create(2).name
    client.count(name, FIRST)
    answer = client.call("Denormalize", pb.DenormalizeRequest(
        name=name, input=values(client.look(name, SECOND))))
    assert not answer.output.data
    np.testing.assert_allclose(array(answer.output), SECOND, rtol=1e-13)
