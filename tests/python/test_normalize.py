"""Modes, element types, warm-up, non-finite values, merges, the inverse."""

import numpy as np
import pytest
from api import (BF16, FP16, FP32, FP64, Code, FeatureStatistics, Nonfinite,
                 Scaling, Tensor, WarmUp, array, decode, doubles, invalid,
                 normalize_request, oracle, pb, refused, rounded, tensor,
                 unchanged, values)

FIRST = np.array([[1.0, 10.0], [3.0, 30.0], [8.0, 20.0]])
SECOND = np.array([[2.0, 5.0], [9.0, 90.0]])
BOTH = np.concatenate([FIRST, SECOND])


def standard(rows, past):
    past = np.asarray(past)
    return (np.asarray(rows) - past.mean(0)) / past.std(0)


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


# Shapes and element types.

def test_one_row_may_have_one_dimension(client):
    name = client.create(2).name
    client.count(name, FIRST)
    answer = client.normalize(name, SECOND[0], mode=pb.NORMALIZE_ONLY)
    assert list(answer.output.shape) == [2]
    np.testing.assert_array_equal(array(answer.output),
                                  client.look(name, SECOND)[0])
    assert client.count(name, SECOND[0]).counted_rows == 1


# Relative error of one rounding to the type, and half its smallest number.
TYPES = {FP64: (2e-16, 0), FP32: (2.0 ** -23, 0), FP16: (2.0 ** -10, 2 ** -24),
         BF16: (2.0 ** -7, 0)}


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


# Denormalize.

RULES = {
    "standard": Scaling(), "batchnorm": Scaling(preset="batchnorm"),
    "rsl_rl": Scaling(preset="rsl_rl"), "keras": Scaling(preset="keras"),
    "lerobot": Scaling(preset="lerobot"), "minmax": Scaling(preset="minmax"),
    "maxabs": Scaling(preset="maxabs"),
    "vecnormalize": Scaling(preset="vecnormalize"),
    "centred": Scaling(scale=False), "scaled": Scaling(center=False)}


@pytest.mark.parametrize("rule", RULES)
def test_denormalize_is_the_inverse(client, rule):
    rng = np.random.default_rng(3)
    past = rng.normal([5, -1e3, 0], [1, 20, 1e-3], (50, 3))
    x = rng.normal([5, -1e3, 0], [1, 20, 1e-3], (20, 3))
    name = client.create(3, scaling=RULES[rule]).name
    client.count(name, past)
    with unchanged(client, name):
        answer = client.denormalize(name, client.look(name, x))
    np.testing.assert_allclose(array(answer.output), x, rtol=1e-12,
                               atol=1e-16)
    assert answer.clipped_values == 0
    assert answer.revision == client.get(name).revision
    assert answer.row_count == 50


@pytest.mark.parametrize("datatype", TYPES)
def test_denormalize_answers_in_the_type_of_the_request(client, datatype):
    name = client.create(2).name
    client.count(name, FIRST)
    z = rounded([[0.5, -1.25], [2, 0]], datatype)
    answer = client.denormalize(name, z, datatype)
    assert answer.output.datatype == datatype
    np.testing.assert_allclose(
        array(answer.output), z * FIRST.std(0) + FIRST.mean(0),
        rtol=max(TYPES[datatype][0], 1e-14))


def test_denormalize_at_the_current_revision_only(client):
    name = client.create(2).name
    revision = client.count(name, FIRST).revision
    client.denormalize(name, SECOND, revision=revision)
    client.count(name, SECOND)
    for other in (revision, revision + 7):
        with refused(Code.FAILED_PRECONDITION, "REVISION_NOT_KEPT"):
            client.denormalize(name, SECOND, revision=other)


def test_denormalize_while_warming_up_is_refused(client):
    name = client.create(2).name
    with refused(Code.FAILED_PRECONDITION, "NOT_WARMED_UP"):
        client.denormalize(name, SECOND)


# MergeMoments.

def moments(rows):
    mean, variance = oracle(rows)
    return len(rows), mean, variance * len(rows)


@pytest.mark.parametrize("extremes", [True, False])
def test_merged_moments_equal_the_rows_they_stand_for(client, extremes):
    rng = np.random.default_rng(5)
    batches = [rng.normal([3, -70], [1, 9], (n, 2)) for n in (1, 7, 64, 300)]
    merged, sent = client.create(2).name, client.create(2).name
    for i, batch in enumerate(batches):
        client.count(sent, batch)
        if i % 2:
            client.count(merged, batch)
            continue
        fields = {}
        if extremes:
            fields = {"minimum": batch.min(0), "maximum": batch.max(0)}
        answer = client.merge(merged, *moments(batch), **fields)
        assert answer.counted_rows == len(batch)
    one, other = client.columns(merged), client.columns(sent)
    np.testing.assert_array_equal(one["count"], other["count"])
    np.testing.assert_allclose(one["mean"], other["mean"], rtol=1e-12)
    np.testing.assert_allclose(one["variance"], other["variance"],
                               rtol=1e-12)
    if extremes:
        np.testing.assert_array_equal(one["minimum"], other["minimum"])
        np.testing.assert_array_equal(one["maximum"], other["maximum"])
    assert client.get(merged).row_count == 372


def test_merge_answers_the_statistics_of_before_or_after(client):
    name = client.create(2).name
    client.count(name, FIRST)
    before = client.merge(name, *moments(SECOND), return_statistics=True,
                          mode=pb.NORMALIZE_THEN_UPDATE)
    np.testing.assert_allclose(decode(before.mean, FP64), FIRST.mean(0),
                               rtol=1e-14)
    after = client.merge(name, *moments(FIRST), return_statistics=True)
    rows = np.concatenate([BOTH, FIRST])
    mean, variance, offset, scale = (
        decode(getattr(after, f), FP64)
        for f in ("mean", "variance", "offset", "scale"))
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-14)
    np.testing.assert_allclose(variance, rows.var(0), rtol=1e-13)
    np.testing.assert_allclose((SECOND - offset) * scale,
                               standard(SECOND, rows), rtol=1e-12)
    assert after.row_count == 8 and after.revision == before.revision + 1


def test_merge_answers_no_statistics_unless_asked(client):
    name = client.create(2).name
    answer = client.merge(name, *moments(FIRST))
    assert not (answer.mean or answer.variance or answer.offset)
    assert answer.generation == client.get(name).generation
    assert answer.history_id == client.info().history_id


def test_feature_counts_say_how_many_rows_count(client):
    name = client.create(2).name
    x = np.array([[1.0, np.nan], [2.0, 7.0], [6.0, np.nan], [4.0, 9.0]])
    client.merge(name, 4, np.nanmean(x, 0), np.nanvar(x, 0) * [4, 2],
                 feature_counts=np.array([4, 2], "<u8").tobytes())
    client.count(name, x)
    twice = np.concatenate([x, x])
    c = client.columns(name)
    assert client.get(name).row_count == 8
    assert list(c["count"]) == [8, 4]
    np.testing.assert_allclose(c["mean"], np.nanmean(twice, 0), rtol=1e-14)
    np.testing.assert_allclose(c["variance"], np.nanvar(twice, 0),
                               rtol=1e-13)


BAD_MERGES = {
    "no_rows": ({"count": 0}, "count"),
    "short_mean": ({"mean": doubles([1])}, "mean"),
    "long_mean": ({"mean": doubles([1, 2, 3])}, "mean"),
    "no_mean": ({"mean": b""}, "mean"),
    "broken_mean": ({"mean": doubles([1, 2])[:-1]}, "mean"),
    "nan_mean": ({"mean": doubles([1, np.nan])}, "mean"),
    "infinite_mean": ({"mean": doubles([np.inf, 1])}, "mean"),
    "short_m2": ({"m2": doubles([1])}, "m2"),
    "negative_m2": ({"m2": doubles([1, -1e-9])}, "m2"),
    "nan_m2": ({"m2": doubles([1, np.nan])}, "m2"),
    "infinite_m2": ({"m2": doubles([1, np.inf])}, "m2"),
    "short_minimum": ({"minimum": doubles([1]), "maximum": doubles([9, 9])},
                      "minimum"),
    "nan_maximum": ({"minimum": doubles([0, 0]),
                     "maximum": doubles([9, np.nan])}, "maximum"),
    "crossed_extremes": ({"minimum": doubles([9, 9]),
                          "maximum": doubles([0, 0])}, None),
    "short_counts": ({"feature_counts": b"\1" * 8}, "feature_counts"),
    "count_above_rows": (
        {"feature_counts": np.array([4, 5], "<u8").tobytes()},
        "feature_counts"),
    "normalize_only": ({"mode": pb.NORMALIZE_ONLY}, "mode"),
    "update_only": ({"mode": pb.UPDATE_ONLY}, "mode"),
    "unknown_mode": ({"mode": 9}, "mode"),
}


@pytest.mark.parametrize("case", BAD_MERGES)
def test_bad_moments_are_refused(client, case):
    fields, path = BAD_MERGES[case]
    name = client.create(2).name
    client.count(name, FIRST)
    request = pb.MergeMomentsRequest(name=name, **{
        "count": 4, "mean": doubles([1, 2]), "m2": doubles([1, 2]), **fields})
    with unchanged(client, name), invalid(path):
        client.call("MergeMoments", request)


@pytest.mark.parametrize("preset", ["minmax", "maxabs"])
def test_moments_without_extremes_are_refused_by_rules_of_extremes(
        client, preset):
    name = client.create(2, scaling=Scaling(preset=preset)).name
    with unchanged(client, name), invalid("minimum"):
        client.merge(name, *moments(FIRST))
    client.merge(name, *moments(FIRST), minimum=FIRST.min(0),
                 maximum=FIRST.max(0))
    client.merge(name, *moments(SECOND), minimum=SECOND.min(0),
                 maximum=SECOND.max(0))
    assert list(client.columns(name)["maximum"]) == [9, 90]


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
