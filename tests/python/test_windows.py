"""Normalizers whose rows fade, and those that keep the mean only."""

import numpy as np
import pytest
from api import (FP64, Code, Normalizer, Scaling, WarmUp, Window, decode,
                 doubles, invalid, pb, refused, unchanged)
from rows import moments

FADING = Window(half_life_rows=7)
MEAN = Normalizer.MEAN


def weighted(updates, half_life):
    """Mean and population variance per feature, from the definition: each row
    of each update with its weight, two passes, NaN left out."""
    features = updates[0].shape[1]
    mean, variance = np.zeros(features), np.zeros(features)
    for j in range(features):
        weights, values, left = [], [], np.longdouble(1)
        for rows in reversed(updates):
            column = rows[:, j].astype(np.longdouble)
            column = column[~np.isnan(column)]
            n = len(column)
            if n == 0:
                continue
            a = 1 - np.longdouble(2) ** (-n / np.longdouble(half_life))
            weights += [left * a / n] * n
            values += list(column)
            left *= 1 - a
        w, x = np.array(weights), np.array(values)
        w /= w.sum()
        m = (w * x).sum()
        mean[j], variance[j] = m, (w * (x - m) ** 2).sum()
    return mean, variance


def some_updates(seed, sizes=(2, 4, 1, 64, 4, 2000, 1, 4)):
    rng = np.random.default_rng(seed)
    return [rng.normal(rng.normal([3, -700], 2), [1, 9], (n, 2))
            for n in sizes]


def check(client, name, updates, half_life):
    mean, variance = weighted(updates, half_life)
    c = client.columns(name)
    np.testing.assert_allclose(c["mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(c["variance"], variance, rtol=1e-11)
    made = client.get(name)
    assert made.row_count == sum(map(len, updates))
    assert made.revision == len(updates)


@pytest.mark.parametrize("window, half_life", [
    (FADING, 7), (Window(kind=Window.HALF_LIFE_ROWS, half_life_rows=1e6), 1e6),
    (Window(window_rows=100), np.log(2) / -np.log1p(-1 / 100)),
])
def test_rows_fade_as_defined(client, window, half_life):
    sent = client.create(2, window=window).name
    merged = client.create(2, window=window).name
    updates = some_updates(1)
    for i, rows in enumerate(updates):
        client.count(sent, rows)
        client.merge(merged, *moments(rows))
        check(client, sent, updates[:i + 1], half_life)
        check(client, merged, updates[:i + 1], half_life)


def test_a_window_is_answered_as_it_was_set(client):
    made = client.create(2, window=Window(window_rows=100))
    assert made.window == Window(kind=Window.HALF_LIFE_ROWS, window_rows=100)
    assert client.get(made.name) == made
    made = client.create(2, window=FADING, moments=MEAN)
    assert made.window == Window(kind=Window.HALF_LIFE_ROWS, half_life_rows=7)
    assert made.moments == MEAN and not made.scaling.scale
    made = client.create(2)
    assert made.window == Window(kind=Window.CUMULATIVE)
    assert made.moments == Normalizer.MEAN_AND_VARIANCE


def test_how_alike_rows_are_batched_does_not_matter(client):
    whole, single = (client.create(1, window=FADING).name for _ in range(2))
    for x in (3.0, -1.0, 8.0):
        client.count(whole, np.full((20, 1), x))
        for _ in range(20):
            client.count(single, np.full((1, 1), x))
    one, other = client.columns(whole), client.columns(single)
    for field in ("mean", "variance"):
        np.testing.assert_allclose(one[field], other[field], rtol=1e-12)


@pytest.mark.parametrize("mode, after", [(pb.UPDATE_THEN_NORMALIZE, True),
                                         (pb.NORMALIZE_THEN_UPDATE, False)])
def test_rows_and_merges_are_answered_from_before_or_after(client, mode,
                                                           after):
    by_rows, by_moments = (client.create(2, window=FADING).name
                           for _ in range(2))
    updates = some_updates(2)
    for name in (by_rows, by_moments):
        client.count(name, updates[0])
    for i, rows in enumerate(updates[1:], 1):
        past = updates[:i + 1] if after else updates[:i]
        mean, variance = weighted(past, 7)
        z = client.normalized(by_rows, rows, mode=mode)
        np.testing.assert_allclose(z, (rows - mean) / np.sqrt(variance),
                                   rtol=1e-9)
        answer = client.merge(by_moments, *moments(rows), mode=mode,
                              return_statistics=True)
        for field, want in (("mean", mean), ("variance", variance),
                            ("offset", mean), ("scale", variance ** -0.5)):
            np.testing.assert_allclose(decode(getattr(answer, field), FP64),
                                       want, rtol=1e-10)
    client.look(by_rows, updates[0])
    check(client, by_rows, updates, 7)


def test_denormalize_inverts_what_a_window_normalized(client):
    name = client.create(2, window=FADING).name
    updates = some_updates(3)
    for rows in updates:
        client.count(name, rows)
    z = client.look(name, updates[0])
    back = decode(client.denormalize(name, z).output.data, FP64)
    np.testing.assert_allclose(back, updates[0].ravel(), rtol=1e-12)


def test_a_value_that_is_skipped_makes_nothing_fade(client):
    name = client.create(2, window=FADING).name
    updates = some_updates(4, sizes=(3, 2, 5, 1, 300))
    updates[1][:, 0] = np.nan
    updates[2][::2, 1] = np.nan
    updates[4][7, 0] = np.nan
    for rows in updates:
        client.count(name, rows)
    check(client, name, updates, 7)
    c = client.columns(name)
    assert list(c["count"]) == [308, 308]
    assert list(c["missing_count"]) == [3, 3]
    # And merged ones, with counts of their own.
    client.merge(name, 4, [1, 2], [3, 4],
                 feature_counts=np.array([4, 0], "<u8").tobytes())
    assert list(client.columns(name)["count"]) == [312, 308]
    np.testing.assert_array_equal(client.columns(name)["mean"][1],
                                  c["mean"][1])


def test_a_frozen_window_does_not_move(client):
    name = client.create(2, window=FADING).name
    client.count(name, some_updates(5)[0])
    client.freeze(name)
    with unchanged(client, name):
        client.count(name, some_updates(5)[1])


def test_a_reset_begins_the_window_anew(client):
    name = client.create(2, window=FADING).name
    client.count(name, some_updates(6)[0])
    client.reset(name)
    rows = some_updates(6)[3]
    client.count(name, rows)
    np.testing.assert_allclose(client.columns(name)["mean"], rows.mean(0),
                               rtol=1e-12)
    assert client.get(name).window.half_life_rows == 7


def test_warm_up_counts_rows_and_not_weights(client):
    name = client.create(2, window=Window(half_life_rows=0.5), warm_up=WarmUp(
        minimum_rows=5, answer=WarmUp.ERROR)).name
    client.count(name, np.ones((4, 2)))
    with refused(Code.FAILED_PRECONDITION, "NOT_WARMED_UP"):
        client.look(name, np.ones((1, 2)))
    client.count(name, np.zeros((1, 2)))
    client.look(name, np.ones((1, 2)))


def test_updates_that_fade_count_once(client):
    name = client.create(2, window=FADING).name
    session = client.open_session()
    generation = client.get(name).generation
    updates = some_updates(7)
    for i, rows in enumerate(updates, 1):
        for again in (False, True):
            answer = client.merge(name, *moments(rows),
                                  update_id=session.id(i, generation))
            assert answer.duplicate == again
    check(client, name, updates, 7)


@pytest.mark.parametrize("fields", [
    {"window": FADING}, {"moments": MEAN}, {"window": FADING,
                                            "moments": MEAN}])
def test_statistics_come_back_after_kill(start, connect, fields):
    server = start()
    client = connect(server)
    name = client.create(2, "kept", **fields).name
    updates = some_updates(8)
    for rows in updates[:4]:
        client.count(name, rows)
    before = client.fingerprint(name)
    server.kill()
    client = connect(start())
    assert client.fingerprint(name) == before
    for rows in updates[4:]:
        client.count(name, rows)
    if "window" in fields:
        mean, _ = weighted(updates, 7)
    else:
        mean = np.concatenate(updates).mean(0)
    np.testing.assert_allclose(client.columns(name)["mean"], mean,
                               rtol=1e-12)


# The mean only.

@pytest.mark.parametrize("window, half_life", [(FADING, 7), (None, None)])
def test_the_mean_alone_needs_and_answers_no_variance(client, window,
                                                      half_life):
    name = client.create(2, window=window, moments=MEAN).name
    updates = some_updates(9)
    for i, rows in enumerate(updates):
        answer = client.call("MergeMoments", pb.MergeMomentsRequest(
            name=name, count=len(rows), mean=doubles(rows.mean(0)),
            return_statistics=True))
        past = updates[:i + 1]
        mean = (weighted(past, half_life)[0] if window
                else np.concatenate(past).mean(0))
        np.testing.assert_allclose(decode(answer.mean, FP64), mean,
                                   rtol=1e-12)
        assert not (answer.variance or answer.offset or answer.scale)
    c = client.columns(name)
    for field in ("variance", "minimum", "maximum", "sample_variance"):
        assert not c[field].any()
    assert list(c["scale"]) == [1, 1]
    np.testing.assert_allclose(client.look(name, updates[3]),
                               updates[3] - mean, atol=1e-12)


def test_before_the_mean_is_the_mean_of_before(client):
    name = client.create(2, moments=MEAN).name
    client.count(name, [[1.0, 2.0], [3.0, 6.0]])
    answer = client.merge(name, 2, [100, 100], [5, 5],
                          return_statistics=True,
                          mode=pb.NORMALIZE_THEN_UPDATE)
    assert list(decode(answer.mean, FP64)) == [2, 4]


def test_exchange_takes_all_kinds_at_once(client):
    names = [client.create(2, **fields).name for fields in (
        {}, {"window": FADING}, {"moments": MEAN})]
    rows = some_updates(10)[0]
    count, mean, m2 = moments(rows)
    answer = client.call("ExchangeMoments", pb.ExchangeMomentsRequest(merges=[
        pb.MergeMomentsRequest(name=name, count=count, mean=doubles(mean),
                               m2=doubles(m2), return_statistics=True)
        for name in names]))
    for merge in answer.merges:
        np.testing.assert_allclose(decode(merge.mean, FP64), rows.mean(0),
                                   rtol=1e-12)
    assert [len(m.variance) for m in answer.merges] == [16, 16, 0]


BAD = {
    "no_length": ({"window": Window(kind=Window.HALF_LIFE_ROWS)},
                  "window.length"),
    "length_of_all": ({"window": Window(kind=Window.CUMULATIVE,
                                        half_life_rows=3)}, "window.length"),
    "zero": ({"window": Window(half_life_rows=0)}, "window.half_life_rows"),
    "negative": ({"window": Window(half_life_rows=-1)},
                 "window.half_life_rows"),
    "nan": ({"window": Window(half_life_rows=np.nan)},
            "window.half_life_rows"),
    "infinite": ({"window": Window(half_life_rows=np.inf)},
                 "window.half_life_rows"),
    "one_row": ({"window": Window(window_rows=1)}, "window.window_rows"),
    "nan_rows": ({"window": Window(window_rows=np.nan)},
                 "window.window_rows"),
    "huge_rows": ({"window": Window(window_rows=1e16)},
                  "window.window_rows"),
    "min_max": ({"window": FADING, "scaling": Scaling(preset="minmax")},
                "scaling.preset"),
    "max_abs": ({"window": FADING,
                 "scaling": Scaling(method=Scaling.MAX_ABS)},
                "scaling.method"),
    "unknown_moments": ({"moments": 9}, "moments"),
    "mean_scaled": ({"moments": MEAN, "scaling": Scaling(scale=True)},
                    "scaling.scale"),
    "mean_preset": ({"moments": MEAN, "scaling": Scaling(preset="keras")},
                    "scaling.preset"),
    "mean_extremes": ({"moments": MEAN,
                       "scaling": Scaling(method=Scaling.MIN_MAX)},
                      "scaling.method"),
}


@pytest.mark.parametrize("case", BAD)
def test_windows_and_moments_that_make_no_sense_are_refused(client, case):
    fields, path = BAD[case]
    with invalid("normalizer." + path):
        client.create(2, "refused-window", **fields)


def test_window_and_moments_can_not_be_changed(client):
    made = client.create(2, window=FADING)
    made.window.half_life_rows = 8
    with unchanged(client, made.name):
        for path in ("window", "moments"):
            with invalid("update_mask", says=[path]):
                client.update(made, path)
        made.scaling.CopyFrom(Scaling(preset="minmax"))
        with invalid("normalizer.scaling"):
            client.update(made, "scaling")


def test_moments_without_m2_are_refused_where_it_is_kept(client):
    name = client.create(2, window=FADING).name
    with unchanged(client, name), invalid("m2"):
        client.call("MergeMoments", pb.MergeMomentsRequest(
            name=name, count=3, mean=doubles([1, 2])))
