"""Modes, warm-up, non-finite values, overflow, clip, schema."""

import numpy as np
import pytest
from api import (FP16, FP32, FP64, TYPES, Code, FeatureStatistics, Nonfinite,
                 Scaling, Tensor, WarmUp, array, invalid, normalize_request,
                 oracle, pb, refused, rounded, tensor, unchanged, values)
from rows import BOTH, FIRST, SECOND, moments, standard

# Modes.

def test_update_then_normalize_includes_this_very_request(client):
    name = client.create(2).name
    first = client.normalize(name, FIRST)
    second = client.normalize(name, SECOND, mode=pb.UPDATE_THEN_NORMALIZE)
    np.testing.assert_allclose(array(first.output), standard(FIRST, FIRST),
                               rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(array(second.output), standard(SECOND, BOTH),
                               rtol=1e-13)
    assert (first.counted_rows, first.row_count) == (3, 3)
    assert (second.counted_rows, second.row_count) == (2, 5)
    assert second.revision == first.revision + 1


def test_normalize_then_update_answers_from_the_past(client):
    name = client.create(2).name
    client.count(name, FIRST)
    answer = client.normalize(name, SECOND, mode=pb.NORMALIZE_THEN_UPDATE)
    np.testing.assert_allclose(array(answer.output), standard(SECOND, FIRST),
                               rtol=1e-13)
    assert (answer.counted_rows, answer.row_count) == (2, 5)
    np.testing.assert_allclose(client.columns(name)["mean"], BOTH.mean(0))


def test_normalize_only_writes_nothing_whatever_else_is_set(client):
    name = client.create(2).name
    client.count(name, FIRST)
    with unchanged(client, name):
        answer = client.normalize(
            name, SECOND, mode=pb.NORMALIZE_ONLY, wait_durable=True,
            update_id=pb.UpdateId(session=b"not even one", sequence=7))
    np.testing.assert_allclose(array(answer.output), standard(SECOND, FIRST),
                               rtol=1e-13)
    assert (answer.counted_rows, answer.row_count) == (0, 3)
    assert not answer.duplicate


def test_update_only_answers_no_output(client):
    name = client.create(2).name
    answer = client.count(name, FIRST)
    assert not answer.HasField("output")
    assert (answer.counted_rows, answer.row_count) == (3, 3)


def test_an_answer_names_its_normalizers_generation_and_history(client):
    made = client.create(2)
    answer = client.normalize(made.name, FIRST)
    info = client.info()
    assert answer.generation == made.generation
    assert answer.history_id == info.history_id
    assert answer.incarnation == info.incarnation
    assert not answer.HasField("status")
    assert answer.revision == client.get(made.name).revision


# Warm-up.

def test_one_row_centres_on_itself_and_says_so(client):
    name = client.create(2).name
    answer = client.normalize(name, FIRST[:1])
    assert answer.warming_up and answer.row_count == 1
    np.testing.assert_array_equal(array(answer.output), [[0, 0]])
    answer = client.normalize(name, FIRST[1:2])
    assert not answer.warming_up


def test_a_batch_without_a_past_centres_on_itself(client):
    name = client.create(2).name
    answer = client.normalize(name, FIRST, mode=pb.NORMALIZE_THEN_UPDATE)
    assert answer.warming_up and answer.row_count == 3
    np.testing.assert_allclose(array(answer.output), FIRST - FIRST.mean(0),
                               rtol=1e-14)
    answer = client.normalize(name, FIRST, mode=pb.NORMALIZE_THEN_UPDATE)
    assert not answer.warming_up


def test_normalize_only_without_a_past_centres_on_itself(client):
    name = client.create(2).name
    answer = client.normalize(name, FIRST, mode=pb.NORMALIZE_ONLY)
    assert answer.warming_up and answer.row_count == 0
    np.testing.assert_allclose(array(answer.output), FIRST - FIRST.mean(0),
                               rtol=1e-14)


def test_centring_is_on_the_batch_and_not_on_the_past(client):
    name = client.create(2, warm_up=WarmUp(minimum_rows=100)).name
    client.count(name, FIRST + 1000)
    np.testing.assert_allclose(client.normalized(name, SECOND),
                               SECOND - SECOND.mean(0), rtol=1e-14)


def test_warm_up_ends_with_the_minimum_row(client):
    name = client.create(2, warm_up=WarmUp(minimum_rows=5)).name
    assert client.normalize(name, FIRST).warming_up
    answer = client.normalize(name, SECOND)
    assert not answer.warming_up
    np.testing.assert_allclose(array(answer.output), standard(SECOND, BOTH),
                               rtol=1e-13)


def test_identity_answers_the_input_bit_for_bit(client):
    name = client.create(2, warm_up=WarmUp(
        minimum_rows=4, answer=WarmUp.IDENTITY)).name
    for datatype in TYPES:
        x = rounded(FIRST / 7, datatype)
        answer = client.normalize(name, x, datatype, mode=pb.NORMALIZE_ONLY)
        assert answer.warming_up
        assert answer.output.data == tensor(x, datatype).data


def test_error_refuses_and_update_only_gets_out_of_it(client):
    name = client.create(2, warm_up=WarmUp(
        minimum_rows=4, answer=WarmUp.ERROR)).name
    for mode in (pb.UPDATE_THEN_NORMALIZE, pb.NORMALIZE_THEN_UPDATE,
                 pb.NORMALIZE_ONLY):
        with unchanged(client, name), refused(
                Code.FAILED_PRECONDITION, "NOT_WARMED_UP"):
            client.normalize(name, FIRST, mode=mode)
    answer = client.count(name, FIRST)
    assert answer.warming_up and answer.counted_rows == 3
    answer = client.normalize(name, SECOND)
    assert not answer.warming_up and answer.row_count == 5


@pytest.mark.parametrize("per_feature", [True, False])
def test_a_prior_tops_the_statistics_up_and_is_never_counted(
        client, per_feature):
    mean, variance, weight = np.array([2.0, 2.0]), np.array([9.0, 9.0]), 2.5
    if per_feature:
        mean, variance = np.array([2.0, -1.0]), np.array([9.0, 0.5])
    prior = WarmUp.Prior(mean=mean if per_feature else mean[:1],
                         variance=variance if per_feature else variance[:1],
                         pseudo_rows=weight)
    name = client.create(2, warm_up=WarmUp(
        minimum_rows=4, answer=WarmUp.PRIOR, prior=prior)).name

    answer = client.normalize(name, SECOND, mode=pb.NORMALIZE_ONLY)
    assert answer.warming_up
    np.testing.assert_allclose(array(answer.output),
                               (SECOND - mean) / np.sqrt(variance),
                               rtol=1e-13)

    answer = client.normalize(name, FIRST)
    assert answer.warming_up
    n, d = len(FIRST), FIRST.mean(0) - mean
    total = n + weight
    top_mean = mean + d * n / total
    top_variance = (weight * variance + n * FIRST.var(0)
                    + d * d * n * weight / total) / total
    np.testing.assert_allclose(
        array(answer.output), (FIRST - top_mean) / np.sqrt(top_variance),
        rtol=1e-12)
    np.testing.assert_allclose(client.columns(name)["mean"], FIRST.mean(0),
                               rtol=1e-14)

    answer = client.normalize(name, SECOND)
    assert not answer.warming_up
    np.testing.assert_allclose(array(answer.output), standard(SECOND, BOTH),
                               rtol=1e-12)


def test_a_minimum_of_one_row_answers_the_first_row_centred(client):
    name = client.create(2, warm_up=WarmUp(minimum_rows=1)).name
    answer = client.normalize(name, FIRST[:1])
    assert not answer.warming_up
    np.testing.assert_array_equal(array(answer.output), [[0, 0]])


def test_reset_begins_the_warm_up_again(client):
    name = client.create(2).name
    client.count(name, FIRST)
    client.reset(name)
    assert client.normalize(name, FIRST, mode=pb.NORMALIZE_ONLY).warming_up


# Non-finite values.

@pytest.mark.parametrize("datatype", TYPES)
def test_nan_is_skipped_kept_and_counted_per_feature(client, datatype):
    name = client.create(3).name
    x = np.array([[1, np.nan, 7], [2, np.nan, 8], [6, 5, np.nan]])
    answer = client.normalize(name, x, datatype)
    assert answer.nonfinite_values == 3 and answer.row_count == 3
    c = client.columns(name)
    assert list(c["count"]) == [3, 1, 2]
    assert list(c["missing_count"]) == [0, 2, 1]
    assert list(c["mean"]) == [3, 5, 7.5]
    output = array(answer.output)
    np.testing.assert_array_equal(np.isnan(output), np.isnan(x))
    np.testing.assert_allclose(
        output[:, 0], (x[:, 0] - 3) / x[:, 0].std(), rtol=1e-2)
    np.testing.assert_allclose(output[:2, 2], [-1, 1])
    assert output[2, 1] == 0


def test_a_feature_of_nan_alone_stays_empty(client):
    name = client.create(2).name
    client.count(name, [[np.nan, 1.0], [np.nan, 2.0]])
    c = client.columns(name)
    for field in ("count", "mean", "variance", "minimum", "maximum"):
        assert c[field][0] == 0
    assert list(c["count"]) == [0, 2] and list(c["missing_count"]) == [2, 0]
    output = client.look(name, [[3.0, 1.5]])
    assert np.all(np.isfinite(output)) and output[0, 1] == 0


def test_values_after_a_nan_are_counted_with_their_own_count(client):
    rng = np.random.default_rng(7)
    x = rng.normal(4, 2, (200, 5))
    x[rng.random(x.shape) < 0.3] = np.nan
    name = client.create(5).name
    for batch in np.array_split(x, [3, 50, 51, 120]):
        client.count(name, batch)
    c = client.columns(name)
    np.testing.assert_array_equal(c["count"], (~np.isnan(x)).sum(0))
    np.testing.assert_allclose(c["mean"], np.nanmean(x, 0), rtol=1e-13)
    np.testing.assert_allclose(c["variance"], np.nanvar(x, 0), rtol=1e-13)


@pytest.mark.parametrize("datatype", TYPES)
@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_infinity_is_refused_and_the_place_is_named(client, datatype, bad):
    name = client.create(3).name
    client.count(name, np.ones((2, 3)))
    x = np.zeros((5, 3))
    x[4, 2] = bad
    for mode in (pb.UPDATE_THEN_NORMALIZE, pb.UPDATE_ONLY,
                 pb.NORMALIZE_THEN_UPDATE, pb.NORMALIZE_ONLY):
        with unchanged(client, name), invalid("input", says=["4", "2"]):
            client.normalize(name, x, datatype, mode=mode)


def test_nan_under_reject_is_refused(client):
    name = client.create(3, nonfinite=Nonfinite(nan=Nonfinite.REJECT)).name
    x = np.zeros((5, 3))
    x[3, 1] = np.nan
    with unchanged(client, name), invalid("input", says=["3", "1"]):
        client.normalize(name, x)
    with unchanged(client, name), invalid("input"):
        client.call("Normalize", pb.NormalizeRequest(name=name,
                                                     input=values(x)))


def test_infinity_under_skip_is_kept_and_counted(client):
    name = client.create(2, nonfinite=Nonfinite(
        infinity=Nonfinite.SKIP)).name
    x = np.array([[1, np.inf], [3, -np.inf], [5, 4], [np.nan, 6]])
    answer = client.normalize(name, x)
    assert answer.nonfinite_values == 3
    c = client.columns(name)
    assert list(c["infinite_count"]) == [0, 2]
    assert list(c["missing_count"]) == [1, 0]
    assert list(c["count"]) == [3, 2] and list(c["mean"]) == [3, 5]
    assert list(c["maximum"]) == [5, 6]
    output = array(answer.output)
    assert output[0, 1] == np.inf and output[1, 1] == -np.inf
    assert np.isnan(output[3, 0])


def test_nan_does_not_count_as_a_value_of_the_warm_up(client):
    name = client.create(2).name
    client.count(name, [[np.nan, 1.0], [4.0, 2.0]])
    assert list(client.columns(name)["state"]) == [
        FeatureStatistics.WARMING, FeatureStatistics.OK]


# Overflow.

def test_an_output_that_the_type_can_not_hold_is_refused(client):
    name = client.create(1).name
    client.count(name, [[0.0], [1e-3]])
    for mode in (pb.NORMALIZE_ONLY, pb.NORMALIZE_THEN_UPDATE):
        with unchanged(client, name), invalid("input"):
            client.normalize(name, [[60000.0]], FP16, mode=mode)


def test_statistics_that_a_double_can_not_hold_are_refused(client):
    name = client.create(2).name
    client.count(name, np.ones((2, 2)))
    with unchanged(client, name), invalid("input", says=["1"]):
        client.count(name, [[0.0, 1e200], [0.0, -1e200]])


def test_large_numbers_within_a_double_are_counted(client):
    name = client.create(1).name
    client.count(name, [[1e150], [-1e150]])
    assert client.columns(name)["standard_deviation"][0] == (
        pytest.approx(1e150, rel=1e-12))


# Clip.

def test_clipped_outputs_are_limited_and_counted(client):
    name = client.create(2, scaling=Scaling(clip=1.25)).name
    client.count(name, FIRST)
    x = np.array([[1e6, 20], [-1e6, 20], [4, -1e6]])
    answer = client.normalize(name, x, mode=pb.NORMALIZE_ONLY)
    assert answer.clipped_values == 3
    np.testing.assert_allclose(
        array(answer.output), np.clip(standard(x, FIRST), -1.25, 1.25),
        rtol=1e-13, atol=1e-15)
    back = client.denormalize(name, array(answer.output))
    assert back.clipped_values == 3


# Schema.

def test_the_right_schema_hash_is_taken(client):
    made = client.create(2)
    client.normalize(made.name, FIRST, schema_hash=made.schema_hash)
    client.merge(made.name, *moments(FIRST), schema_hash=made.schema_hash)
    client.denormalize(made.name, FIRST, schema_hash=made.schema_hash)


def test_another_schema_hash_changes_nothing(client):
    made = client.create(2)
    client.count(made.name, FIRST)
    other = client.create(2, feature_names=["a", "b"]).schema_hash
    differs = (Code.FAILED_PRECONDITION, "SCHEMA_MISMATCH")
    with unchanged(client, made.name):
        for mode in (pb.UPDATE_THEN_NORMALIZE, pb.NORMALIZE_ONLY):
            with refused(*differs):
                client.normalize(made.name, FIRST, schema_hash=other,
                                 mode=mode)
        with refused(*differs):
            client.merge(made.name, *moments(FIRST), schema_hash=other)
        with refused(*differs):
            client.denormalize(made.name, FIRST, schema_hash=other)


# Many features.

def test_a_hundred_thousand_features_are_normalized(client):
    rng = np.random.default_rng(11)
    x = rounded(rng.normal(2, 3, (8, 100_000)), FP32)
    name = client.create(100_000).name
    answer = client.normalize(name, x, FP32)
    mean, variance = oracle(x)
    np.testing.assert_allclose(
        array(answer.output), (x - mean) / np.sqrt(variance),
        rtol=2e-7, atol=1e-12)
    np.testing.assert_allclose(client.columns(name)["variance"], variance,
                               rtol=1e-12)


def test_an_unset_tensor_field_is_not_taken_for_zeros(client):
    name = client.create(2).name
    request = normalize_request(name, FIRST)
    request.input.CopyFrom(Tensor(datatype=FP64, shape=[3, 2]))
    with unchanged(client, name), invalid("input"):
        client.call("Normalize", request)
