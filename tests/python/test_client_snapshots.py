"""client/python: snapshots, read by handles that can't write."""

import asyncio
import pickle
import types

import numpy as np
import pandas as pd
import pytest
import streamnorm
import streamnorm.aio
import streamnorm.gym
import torch
from python_client import (assert_exactly, draw, fresh_name, moments,
                           standardized)

PAST = draw(50, 1, "<f8")
LOOKED_AT = draw(7, 2, "<f8")


@pytest.fixture
def kept(normalizer):
    """A normalizer of PAST, and its snapshot `epoch-3`."""
    normalizer.partial_fit(PAST)
    return normalizer, normalizer.snapshot("epoch-3")


def reading(handle):
    """Every bit that a normalizer or a snapshot answers."""
    parts = [handle(x, "normalize_only").tobytes()
             for x in (LOOKED_AT, LOOKED_AT.astype("<f4"),
                       LOOKED_AT.astype("<f2"))]
    parts.append(handle.transform(LOOKED_AT).tobytes())
    parts.append(handle.inverse_transform(LOOKED_AT).tobytes())
    found = handle.statistics()
    return parts + [np.asarray(column).tobytes() for column in found]


def change(n):
    n(draw(40, 9, "<f8") * 1e3)
    n.merge(*moments(draw(5, 8)))
    n.reset()
    n.partial_fit(draw(9, 7))


def test_a_snapshot_reads_the_same_bits_for_ever(start, join):
    server = start()
    client = join(server)
    n = client.normalizer("trained", 3, "batchnorm", clip=3)
    n.partial_fit(PAST)
    before = reading(n)
    snapshot = n.snapshot("epoch-3")
    assert reading(snapshot) == before
    change(n)
    assert reading(snapshot) == before
    server.kill()  # at once: it was on disk when it was answered
    server.launch()
    server.read_addresses()
    assert reading(snapshot) == before
    n = join(server).normalizer("trained")
    change(n)
    assert reading(n.at("epoch-3")) == before
    assert reading(n) != before


def test_it_answers_the_kind_that_it_is_given(kept):
    n, snapshot = kept
    n(draw(20, 5) + 100)
    wanted = standardized(LOOKED_AT, PAST)
    z = snapshot(torch.from_numpy(LOOKED_AT))
    assert isinstance(z, torch.Tensor)
    np.testing.assert_allclose(z.numpy(), wanted)
    frame = pd.DataFrame(LOOKED_AT, index=list("abcdefg"))
    z = snapshot.transform(frame)
    assert list(z.index) == list("abcdefg")
    np.testing.assert_allclose(z.to_numpy(), wanted)
    np.testing.assert_allclose(snapshot.inverse_transform(z), LOOKED_AT)
    np.testing.assert_allclose(snapshot.mean_, PAST.mean(0))
    np.testing.assert_allclose(snapshot(LOOKED_AT[0]), wanted[0])
    batches = list(snapshot.normalize_iter([LOOKED_AT] * 40))
    np.testing.assert_allclose(batches[39], wanted)
    assert_exactly(n, np.concatenate([PAST, draw(20, 5) + 100]))


def test_columns_go_by_their_names(joined):
    n = joined.normalizer(fresh_name(), feature_names=["a", "b", "c"])
    n.partial_fit(pd.DataFrame(PAST, columns=list("abc")))
    snapshot = n.snapshot("a")
    assert snapshot.feature_names == ("a", "b", "c")
    wanted = standardized(PAST, PAST)
    z = snapshot(pd.DataFrame(PAST, columns=list("abc"))[list("bca")])
    np.testing.assert_allclose(z[list("abc")], wanted)
    with pytest.raises(streamnorm.SchemaMismatch):
        snapshot(pd.DataFrame(PAST, columns=list("abd")))


@pytest.mark.parametrize("update", [
    lambda s: s(PAST, "update_then_normalize"),
    lambda s: s(PAST, "normalize_then_update"),
    lambda s: s.partial_fit(PAST),
    lambda s: s.fit_transform(PAST),
    lambda s: s.merge(*moments(PAST)),
    lambda s: s._client.exchange([(s, *moments(PAST))]),
    lambda s: list(s.normalize_iter([PAST], mode="update_only")),
    lambda s: s.reset(),
    lambda s: s.unfreeze(),
    lambda s: s.snapshot("b"),
], ids=range(10))
def test_updates_are_refused_before_they_leave(start, join, update):
    server = start()
    n = join(server).normalizer("n", 3)
    n.partial_fit(PAST)
    snapshot = n.snapshot("a")
    server.stop()
    with pytest.raises(streamnorm.Frozen) as error:
        update(snapshot)
    assert "normalizers/n/snapshots/a" in str(error.value)
    assert "never changes" in error.value.hint


def test_names_list_and_delete(kept):
    n, snapshot = kept
    n.partial_fit(PAST)
    n.snapshot("a")
    assert [(s.snapshot_id, s.row_count) for s in n.snapshots()] == [
        ("a", 100), ("epoch-3", 50)]
    assert repr(snapshot) == f"<streamnorm.Snapshot {snapshot.id} of 50 rows>"
    assert snapshot.resource().revision == snapshot.revision
    with pytest.raises(streamnorm.AlreadyExists) as error:
        n.snapshot("a")
    assert error.value.reason == "SNAPSHOT_EXISTS" and error.value.hint
    snapshot.delete()
    for read in (lambda: snapshot(PAST), snapshot.statistics, snapshot.delete,
                 lambda: n.at("epoch-3"), lambda: n.delete_snapshot("none"),
                 lambda: list(snapshot.normalize_iter([PAST])),
                 lambda: snapshot.inverse_transform(PAST)):
        with pytest.raises(streamnorm.NotFound) as error:
            read()
        assert error.value.reason == "SNAPSHOT_NOT_FOUND"
    n.delete_snapshot("a")
    assert n.snapshots() == []
    assert n.snapshot("a").row_count == 100


@pytest.mark.parametrize("name", ["", "A", "a/b", "../x", "a" * 129, 3, None])
def test_bad_names_are_refused_before_they_leave(normalizer, name):
    for call in (normalizer.snapshot, normalizer.at,
                 normalizer.delete_snapshot):
        with pytest.raises(streamnorm.InvalidArgument,
                           match=r"^snapshot_id: .*, want \[a-z\]") as error:
            call(name)
        assert error.value.field == "snapshot_id"


def test_all_that_was_sent_is_in_it(normalizer):
    results = normalizer.normalize_iter([PAST] * 20, ahead=8)
    next(results)
    assert normalizer.snapshot("a").row_count == 9 * 50
    results.close()


def test_of_another_normalizer_of_that_name(join, shared_server):
    name = fresh_name()
    old = join(shared_server).normalizer(name, 3)
    old.delete()
    new = join(shared_server).normalizer(name, 2)
    new.snapshot("a")
    with pytest.raises(streamnorm.SchemaMismatch):
        old.at("a")


def test_one_client_trains_while_another_evaluates(join, shared_server, kept):
    n, snapshot = kept
    before = reading(snapshot)
    evaluator = join(shared_server).normalizer(n.name).at("epoch-3")
    for i in range(20):
        n(draw(4, i))
        assert evaluator(LOOKED_AT).tobytes() == before[0]
    assert reading(evaluator) == before
    assert join(shared_server).server_info().sessions  # the trainer's
    n.delete_snapshot("epoch-3")
    with pytest.raises(streamnorm.NotFound):
        evaluator(LOOKED_AT)


def test_it_is_pickled_and_frozen_already(kept):
    _, snapshot = kept
    twin = pickle.loads(pickle.dumps(snapshot))
    try:
        assert reading(twin) == reading(snapshot)
        assert twin.row_count == 50
        with twin.frozen():
            twin(PAST)
        twin.freeze()
    finally:
        twin._client.abandon()


def test_environments_evaluate_with_it(kept):
    n, snapshot = kept
    env = streamnorm.gym.NormalizeObservation(
        types.SimpleNamespace(
            observation_space=types.SimpleNamespace(shape=(3,)),
            reset=lambda: (LOOKED_AT[0], {})), snapshot, prior_count=0)
    observation, _ = env.reset()
    np.testing.assert_allclose(observation,
                               standardized(LOOKED_AT, PAST)[0])
    assert n.n_samples_seen_ == 50


def test_awaited(shared_server, transport):
    async def scenario():
        async with await streamnorm.aio.connect(
                shared_server.address, transport=transport) as client:
            n = await client.normalizer(fresh_name(), 3)
            await n.partial_fit(PAST)
            made = await n.snapshot("a")
            await n(PAST + 5)
            assert [s.sync.snapshot_id for s in await n.snapshots()] == ["a"]
            z = await (await n.at("a"))(LOOKED_AT)
            np.testing.assert_allclose(z, standardized(LOOKED_AT, PAST))
            with pytest.raises(streamnorm.Frozen):
                await made.partial_fit(PAST)
            await n.delete_snapshot("a")

    asyncio.run(scenario())
