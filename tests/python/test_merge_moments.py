"""Moments that a client computed: merged as the rows they stand for."""

import numpy as np
import pytest
from api import (FP64, Scaling, decode, doubles, invalid, pb, unchanged)
from rows import BOTH, FIRST, SECOND, moments, standard


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
