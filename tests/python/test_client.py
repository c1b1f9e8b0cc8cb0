"""client/python over the C library and over grpcio: rows, kinds, errors."""

import pickle

import numpy as np
import pandas as pd
import pytest
import streamnorm
import torch
from python_client import (assert_exactly, draw, fresh_name, moments,
                           standardized)
from streamnorm import Mode

LOOSE = {"<f2": 4e-3, "<f4": 2e-5, "<f8": 1e-10}


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8"])
def test_rows_are_normalized_with_all_rows_so_far(normalizer, dtype):
    seen = np.empty((0, 3))
    for step in range(8):
        x = draw(4, step, dtype)
        z, answer = normalizer.normalize(x)
        seen = np.vstack([seen, x])
        assert (z.dtype, z.shape) == (x.dtype, x.shape)
        np.testing.assert_allclose(z, standardized(x, seen),
                                   rtol=LOOSE[dtype], atol=LOOSE[dtype])
        assert (answer.row_count, answer.counted_rows) == (len(seen), 4)
        assert not (answer.duplicate or answer.frozen)
        z[:] = 7  # the memory is the caller's
    assert_exactly(normalizer, seen)


def test_modes_count_and_answer_as_they_say(normalizer):
    first, second = draw(20, 1, "<f8"), draw(10, 2, "<f8")
    assert normalizer(first, "update_only") is None
    np.testing.assert_allclose(normalizer(second, Mode.NORMALIZE_ONLY),
                               standardized(second, first))
    assert normalizer.n_samples_seen_ == 20
    np.testing.assert_allclose(normalizer(second, 2),
                               standardized(second, first))
    assert normalizer.n_samples_seen_ == 30
    with pytest.raises(streamnorm.InvalidArgument, match="mode: 'fit', want"):
        normalizer(first, "fit")


def test_scikit_learns_words_mean_what_they_say(normalizer):
    x, y = draw(50, 1, "<f8"), draw(30, 2, "<f8")
    both = np.concatenate([x, y])
    assert normalizer.partial_fit(x) is normalizer
    np.testing.assert_allclose(normalizer.fit_transform(y),
                               standardized(y, both))
    np.testing.assert_allclose(normalizer.mean_, both.mean(0))
    np.testing.assert_allclose(normalizer.var_, both.var(0))
    np.testing.assert_allclose(normalizer.scale_, both.std(0))
    assert normalizer.n_samples_seen_ == 80
    z = normalizer.transform(x)
    np.testing.assert_allclose(normalizer.inverse_transform(z), x)
    assert normalizer.n_samples_seen_ == 80


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16,
                                   torch.float32, torch.float64])
def test_a_tensor_in_is_a_tensor_out(normalizer, dtype):
    x = torch.tensor(draw(40), dtype=dtype, requires_grad=True)
    z = normalizer(x)
    assert (z.dtype, z.device, z.shape) == (dtype, x.device, x.shape)
    assert not z.requires_grad
    want = standardized(x.detach().double(), x.detach().double())
    loose = 2e-2 if dtype == torch.bfloat16 else 4e-3
    np.testing.assert_allclose(z.double(), want, rtol=loose, atol=loose)
    z += 1
    whole = normalizer.transform(torch.ones(2, 3, dtype=torch.int64))
    assert whole.dtype == torch.get_default_dtype()


def test_a_frame_in_is_a_frame_out(joined):
    names = ["height", "weight", "age"]
    n = joined.normalizer(fresh_name(), feature_names=names)
    assert n.features == 3 and n.feature_names == tuple(names)
    frame = pd.DataFrame(draw(20, 1, "<f8"), columns=names,
                         index=[f"r{i}" for i in range(20)])
    z = n(frame)
    want = pd.DataFrame(standardized(frame, frame), frame.index, names)
    pd.testing.assert_frame_equal(z, want)
    # Columns are matched by name, whatever their order.
    turned = n.transform(frame[["age", "height", "weight"]])
    pd.testing.assert_frame_equal(turned, z[["age", "height", "weight"]])
    mixed = frame.astype({"age": "f4", "height": "i8"})
    assert list(n.transform(mixed).dtypes) == [np.float64, np.float64,
                                               np.float32]
    for wrong, words in [
            (frame.rename(columns={"age": "years"}),
             "missing 'age', unknown 'years'"),
            (frame[["age", "height"]], "missing 'weight'")]:
        with pytest.raises(streamnorm.SchemaMismatch, match=words) as error:
            n(wrong)
        assert error.value.field == "input.columns"
    assert n.n_samples_seen_ == 20


def test_other_forms_of_rows_are_understood(normalizer):
    x = draw(9, 3, "<f8")
    normalizer.partial_fit(x)
    want = standardized(x, x)
    for form in (x.tolist(), np.asfortranarray(x), x.astype(">f8"),
                 np.repeat(x, 2, axis=0)[::2]):
        np.testing.assert_allclose(normalizer.transform(form), want)
    row = normalizer.transform(x[4])
    assert row.shape == (3,) and row.flags.writeable
    np.testing.assert_allclose(row, want[4])
    assert normalizer.transform(torch.tensor(x[4])).shape == (3,)
    assert normalizer.transform(np.ones((2, 3), int)).dtype == np.float64


@pytest.mark.parametrize("x, kind, words", [
    (np.ones((4, 2)), streamnorm.ShapeMismatch,
     r"input.shape\[1\]: 2, want 3 \(normalizers/\S+ has 3 features\)"),
    (np.ones(4), streamnorm.ShapeMismatch, r"input.shape\[0\]: 4, want 3"),
    (np.ones((2, 2, 3)), streamnorm.ShapeMismatch, "want .rows, 3."),
    (np.ones((0, 3)), streamnorm.ShapeMismatch, "want at least 1 row"),
    (torch.ones(2, 4), streamnorm.ShapeMismatch, "4, want 3"),
    (np.array([["a", "b", "c"]]), streamnorm.TypeMismatch, "datatype"),
    (np.ones((1, 3), complex), streamnorm.TypeMismatch, "complex128, want"),
    ("rows", streamnorm.TypeMismatch, "builtins.str, want a NumPy array"),
    ([["a"]], streamnorm.TypeMismatch, "want numbers"),
    (np.array([[1, np.inf, 2]]), streamnorm.InvalidArgument,
     r"input\[0\]\[1\]: infinity"),
])
def test_bad_input_is_refused_and_changes_nothing(normalizer, x, kind, words):
    with pytest.raises(kind, match=words) as error:
        normalizer(x)
    assert error.value.code == "INVALID_ARGUMENT"
    assert error.value.field.startswith("input")
    assert "\n" not in str(error.value)
    assert normalizer.n_samples_seen_ == 0
    normalizer(draw(4))
    assert normalizer.n_samples_seen_ == 4


def test_a_normalizer_is_what_was_asked_for_or_an_error(joined):
    name = fresh_name()
    with pytest.raises(streamnorm.NotFound) as missing:
        joined.normalizer(name)
    assert missing.value.reason == "NORMALIZER_NOT_FOUND"
    assert "create it" in missing.value.hint
    made = joined.normalizer(name, 2, preset="vecnormalize", clip=3,
                             feature_names=["a", "b"])
    assert joined.normalizer(name).feature_names == ("a", "b")
    assert joined.normalizer(f"normalizers/{name}", 2).preset == made.preset
    for asked, field in [
            (dict(features=3), "features"),
            (dict(feature_names=["b", "a"]), "feature_names"),
            (dict(feature_names=["a", "c"]), "feature_names"),
            (dict(features=2, preset="standard"), "scaling.preset"),
            (dict(features=2, clip=4), "scaling.clip")]:
        with pytest.raises(streamnorm.SchemaMismatch, match="exists") as error:
            joined.normalizer(name, **asked)
        assert error.value.field == field
        assert error.value.code == "FAILED_PRECONDITION"
    for asked, words in [
            (dict(features=0), "features: 0"), (dict(colour=1), "colour: no"),
            (dict(features=1, feature_names=["a", "b"]), "want 2"),
            (dict(features=1, epsilon="x"), "epsilon: 'X'"),
            (dict(features=1, nan="keep"), "nan: 'KEEP'"),
            (dict(features=1, preset="best"), "preset")]:
        with pytest.raises(streamnorm.InvalidArgument, match=words):
            joined.normalizer(fresh_name(), **asked)
    with pytest.raises(streamnorm.InvalidArgument, match="normalizer_id"):
        joined.normalizer("A B", 3)
    assert name in {n.name.split("/")[1] for n in joined.normalizers()}


def test_settings_win_over_the_preset(joined):
    x = draw(200, 1, "<f8")
    n = joined.normalizer(fresh_name(), 3, preset="batchnorm", epsilon=0.5,
                          clip=1.5)
    want = (x - x.mean(0)) / np.sqrt(x.var(0) + 0.5)
    np.testing.assert_allclose(n(x), want.clip(-1.5, 1.5), rtol=1e-9)
    n = joined.normalizer(fresh_name(), 3, center=False)
    np.testing.assert_allclose(n(x), x / x.std(0), rtol=1e-9)
    n = joined.normalizer(fresh_name(), 3, warm_up="error", minimum_rows=5)
    with pytest.raises(streamnorm.NotWarmedUp):
        n(x[:4])
    n = joined.normalizer(fresh_name(), 3, nan="reject")
    with pytest.raises(streamnorm.InvalidArgument, match="NaN"):
        n(np.full((1, 3), np.nan))


def test_within_frozen_nothing_is_counted(normalizer):
    x, y = draw(30, 1), draw(5, 2)
    normalizer(x)
    with normalizer.frozen() as same:
        assert same is normalizer and normalizer.is_frozen_here
        np.testing.assert_array_equal(normalizer(y), normalizer.transform(y))
        for write in (lambda: normalizer.partial_fit(y),
                      lambda: normalizer.merge(*moments(y)),
                      lambda: normalizer(y, "update_then_normalize"),
                      normalizer.reset, normalizer.delete):
            with pytest.raises(streamnorm.Frozen, match="frozen here"):
                write()
    assert normalizer.n_samples_seen_ == 30
    normalizer(y)
    assert normalizer.n_samples_seen_ == 35
    normalizer.freeze()
    assert normalizer.normalize(y)[1].frozen
    normalizer.unfreeze()
    assert normalizer.normalize(y)[1].row_count == 40


def test_merges_answer_statistics_before_or_after(normalizer):
    first, second = draw(40, 1, "<f8"), draw(60, 2, "<f8")
    both = np.concatenate([first, second])
    after = normalizer.merge(*moments(first))
    np.testing.assert_allclose(after.mean, first.mean(0), rtol=1e-12)
    np.testing.assert_allclose(after.variance, first.var(0), rtol=1e-12)
    before = normalizer.merge(*moments(second), before=True)
    np.testing.assert_array_equal(before.mean, after.mean)
    assert before.answer.row_count == 100
    np.testing.assert_allclose(before.offset, first.mean(0), rtol=1e-12)
    np.testing.assert_allclose(before.scale, 1 / first.std(0), rtol=1e-12)
    assert_exactly(normalizer, both)
    for wrong, field in [((0, [1] * 3, [1] * 3), "count"),
                         ((1, [1] * 2, [1] * 3), "mean"),
                         ((1, [1] * 3, 1.0), "m2"),
                         ((1, [np.nan] * 3, [1] * 3), "mean"),
                         ((1, [1] * 3, [-1] * 3), "m2")]:
        with pytest.raises(streamnorm.InvalidArgument, match=field):
            normalizer.merge(*wrong)
    assert normalizer.n_samples_seen_ == 100


def test_merges_take_what_is_known_of_missing_values_and_extremes(joined):
    n = joined.normalizer(fresh_name(), 2, preset="minmax")
    n.merge(10, [1, 2], [0, 4], feature_counts=[5, 10], minimum=[0, 1],
            maximum=[2, 5])
    found = n.statistics()
    assert list(found.count) == [5, 10]
    assert list(found.minimum) == [0, 1] and list(found.maximum) == [2, 5]
    # The first one does not vary (m2 is 0).
    np.testing.assert_allclose(n.transform([[1.0, 2.0]]), [[1.0, 0.25]])


def test_an_exchange_merges_several_in_one_round_trip(joined):
    wide = [joined.normalizer(fresh_name(), w) for w in (1, 3, 64)]
    rows = [draw(20, w, "<f8", n.features) for w, n in enumerate(wide)]
    found = joined.exchange([(n, *moments(x)) for n, x in zip(wide, rows)])
    for n, x, statistics in zip(wide, rows, found):
        np.testing.assert_allclose(statistics.mean, x.mean(0), rtol=1e-12)
        assert statistics.answer.row_count == 20
        assert_exactly(n, x)
    exchange = joined.exchange_of(wide, before=True)
    for step in range(3):
        for i, x in enumerate(rows):
            exchange.count[i], exchange.mean[i][:], exchange.m2[i][:] = \
                moments(x)
        exchange.run()
        np.testing.assert_allclose(exchange.out_variance[2], rows[2].var(0),
                                   rtol=1e-12)
        assert exchange.answer(1).row_count == 20 * (step + 2)


def test_a_refused_entry_doesnt_keep_the_others_back(joined):
    one, gone = (joined.normalizer(fresh_name(), 2) for _ in range(2))
    exchange = joined.exchange_of([gone, one])
    for i in range(2):
        exchange.count[i], exchange.mean[i][:], exchange.m2[i][:] = 4, 1, 2
    gone.delete()
    with pytest.raises(streamnorm.NotFound):
        exchange.run()
    errors = exchange.errors
    assert errors[0].reason == "NORMALIZER_NOT_FOUND" and errors[1] is None
    assert one.n_samples_seen_ == 4
    with pytest.raises(streamnorm.InvalidArgument, match="1 to 1024"):
        joined.exchange([])


@pytest.mark.parametrize("as_batch, field", [
    (lambda x: x, None), (lambda x: (x, "label"), None),
    (lambda x: ["label", x], 1), (lambda x: {"x": x, "y": 1}, "x")])
def test_batches_are_normalized_ahead_in_their_order(normalizer, as_batch,
                                                     field):
    batches = [draw(1 + i % 4, i, "<f8") for i in range(200)]
    seen = np.empty((0, 3))
    results = list(normalizer.normalize_iter(map(as_batch, batches), ahead=16,
                                             field=field))
    assert len(results) == 200
    for x, result in zip(batches, results):
        seen = np.concatenate([seen, x])
        like = as_batch(x)
        assert type(result) is type(like)
        if isinstance(result, (tuple, list, dict)):
            result = result[0 if field is None else field]
        if len(seen) > 1:
            np.testing.assert_allclose(result, standardized(x, seen),
                                       atol=1e-9)
    assert_exactly(normalizer, seen)


def test_calls_among_prefetched_batches_come_in_order(normalizer):
    batches = [draw(2, i) for i in range(50)]
    for i, _ in enumerate(normalizer.normalize_iter(batches, ahead=8)):
        if i == 20:
            normalizer.partial_fit(draw(3))
            normalizer.merge(*moments(draw(5)))
            break
    # Those that were on the wire count.
    assert normalizer.n_samples_seen_ == 2 * 29 + 8


def test_a_refused_batch_is_an_error_in_its_place(normalizer):
    bad = np.full((1, 3), np.inf)
    batches = normalizer.normalize_iter([draw(2), bad, draw(2)], ahead=3)
    assert next(batches).shape == (2, 3)
    with pytest.raises(streamnorm.InvalidArgument, match="infinity"):
        next(batches)
    assert normalizer.n_samples_seen_ == 4
    normalizer(draw(2))


def test_rows_are_split_under_the_message_limit(start, join):
    server = start("--max_message_bytes=8192")
    client = join(server)
    assert client.max_message_bytes == 8192
    n = client.normalizer("split", 32)
    x = draw(1000, 1, "<f8", 32)
    z, answer = n.normalize(x)
    np.testing.assert_allclose(z, standardized(x, x), atol=1e-9)
    assert answer.counted_rows == answer.row_count == 1000
    np.testing.assert_allclose(n(x + 1, "normalize_then_update"),
                               standardized(x + 1, x), atol=1e-9)
    np.testing.assert_allclose(n.inverse_transform(n.transform(x)), x)
    assert [len(z) for z in n.normalize_iter([x, x[:2]])] == [1000, 2]
    rows = n.n_samples_seen_
    x[999, 5] = np.inf
    with pytest.raises(streamnorm.InvalidArgument, match=r"input\[999\]\[5\]"):
        n(x)
    assert n.n_samples_seen_ == rows == 3002


def test_nan_is_left_out_and_kept(normalizer):
    x = draw(10, 1, "<f8")
    x[3, 1] = np.nan
    z, answer = normalizer.normalize(x)
    assert answer.nonfinite_values == 1
    assert np.isnan(z[3, 1]) and np.isnan(z).sum() == 1
    found = normalizer.statistics()
    assert list(found.count) == [10, 9, 10]
    assert list(found.missing_count) == [0, 1, 0]
    np.testing.assert_allclose(found.mean, np.nanmean(x, 0))
    np.testing.assert_allclose(found.sample_variance, np.nanvar(x, 0, ddof=1))


def test_two_clients_share_a_normalizer(joined, join, shared_server):
    name = fresh_name()
    x, y = draw(10, 1, "<f8"), draw(20, 2, "<f8")
    joined.normalizer(name, 3)(x)
    z = join(shared_server).normalizer(name, 3)(y)
    both = np.concatenate([x, y])
    np.testing.assert_allclose(z, standardized(y, both), rtol=1e-9)
    assert_exactly(joined.normalizer(name), both)


def test_a_reset_forgets_and_what_comes_after_counts(normalizer):
    normalizer(draw(10, 1))
    normalizer.reset()
    assert normalizer.n_samples_seen_ == 0
    normalizer(draw(4, 2))
    assert normalizer.n_samples_seen_ == 4
    normalizer.merge(*moments(draw(6)))
    assert normalizer.n_samples_seen_ == 10


def test_what_is_deleted_and_made_again_counts_from_zero(joined):
    name = fresh_name()
    n = joined.normalizer(name, 3)
    for _ in range(3):
        n(draw(5))
    n.delete()
    with pytest.raises(streamnorm.NotFound):
        n(draw(5))
    again = joined.normalizer(name, 2)
    again(np.ones((4, 2)))
    assert again.n_samples_seen_ == 4


def test_clients_and_normalizers_can_be_pickled(joined, normalizer):
    normalizer(draw(10))
    copy = pickle.loads(pickle.dumps(normalizer))
    copy(draw(5))
    assert normalizer.n_samples_seen_ == 15
    copy._client.close()
    error = streamnorm.SchemaMismatch("a: 1, want 2", reason="SCHEMA_MISMATCH",
                                      field="a")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.__dict__) == (
        type(error), str(error), error.__dict__)


def test_a_private_server_ends_with_its_client(transport):
    with streamnorm.connect(":memory:", transport=transport) as client:
        n = client.normalizer("n", 3)
        assert n(draw(4)).shape == (4, 3)
        address = client.address
    with pytest.raises(streamnorm.Unavailable, match="no answer within"):
        streamnorm.connect(address, timeout=0.3, transport=transport)
    with pytest.raises(streamnorm.InvalidArgument, match="closed"):
        n(draw(4))


def test_wrong_ways_to_connect_are_errors(monkeypatch):
    with pytest.raises(streamnorm.InvalidArgument, match="transport: 'tcp'"):
        streamnorm.connect("unix:/nowhere", transport="tcp")
    with pytest.raises(streamnorm.InvalidArgument, match="timeout: 0"):
        streamnorm.connect("unix:/nowhere", timeout=0)
    monkeypatch.setenv("STREAMNORM_SERVER", "unix:/nobody/there")
    with pytest.raises(streamnorm.Unavailable, match="unix:/nobody/there"):
        streamnorm.connect(timeout=0.2)
    monkeypatch.setenv("STREAMNORM_SERVER_BINARY", "/nowhere/server")
    with pytest.raises(streamnorm.FailedPrecondition, match="/nowhere/server"):
        streamnorm.connect(":memory:")
