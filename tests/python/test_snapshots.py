"""Snapshots: what a model was trained with, the same for ever."""

import numpy as np
import pytest
from api import (FP16, FP32, FP64, Code, Nonfinite, Normalizer, Scaling,
                 WarmUp, Window, decode, invalid, normalize_request, not_found,
                 pb, refused, unchanged)
from rows import FIRST, SECOND, moments, standard

RNG = np.random.default_rng(11)
LOOKED_AT = RNG.normal(5, 30, (50, 2))
KINDS = {
    "cumulative": {},
    "batchnorm": {"scaling": Scaling(preset="batchnorm", clip=3)},
    "window": {"window": Window(window_rows=100)},
    "mean": {"moments": Normalizer.MEAN},
    "fading_mean": {"moments": Normalizer.MEAN,
                    "window": Window(half_life_rows=3)},
    "minmax": {"scaling": Scaling(preset="minmax")},
}


def no_snapshot():
    return refused(Code.NOT_FOUND, "SNAPSHOT_NOT_FOUND")


def reading(client, name):
    """Every bit that a snapshot, or a normalizer, answers."""
    parts = [client.normalize(name, LOOKED_AT, datatype,
                              mode=pb.NORMALIZE_ONLY).output.data
             for datatype in (FP16, FP32, FP64)]
    z = client.look(name, LOOKED_AT)
    parts.append(client.denormalize(name, z).output.data)
    statistics = client.statistics(name)
    statistics.name = ""
    return parts + [statistics.SerializeToString(deterministic=True)]


def change_all(client, name):
    """Whatever can happen to a normalizer."""
    client.count(name, SECOND * 1e3)
    made = client.get(name)
    if made.scaling.method == Scaling.STANDARD and made.scaling.scale:
        made.scaling.CopyFrom(Scaling(preset="keras", clip=1))
    made.nonfinite.CopyFrom(Nonfinite(nan=Nonfinite.REJECT))
    made.warm_up.CopyFrom(WarmUp(minimum_rows=10**6, answer=WarmUp.ERROR))
    client.update(made, "scaling", "nonfinite", "warm_up")
    client.freeze(name)
    client.unfreeze(name)
    client.reset(name)
    client.count(name, FIRST)


@pytest.mark.parametrize("kind", KINDS)
def test_a_snapshot_answers_the_same_bits_for_ever(start, connect, kind):
    server = start()
    client = connect(server)
    name = client.create(2, "trained", **KINDS[kind]).name
    for rows in (FIRST, SECOND, FIRST * 3):
        client.count(name, rows)
    before = reading(client, name)
    made = client.snapshot(name, "epoch.1")
    assert reading(client, made.name) == before
    change_all(client, name)
    assert reading(client, made.name) == before
    assert client.get_snapshot(made.name) == made
    server.kill()
    client = connect(start())
    assert reading(client, made.name) == before
    assert client.get_snapshot(made.name) == made
    z = client.look(made.name, [[np.nan, 1.0]])  # NaN is skipped, as it was
    assert np.isnan(z[0, 0])


def test_a_snapshot_says_what_it_is(client):
    made = client.create(2, window=Window(half_life_rows=9),
                         scaling=Scaling(preset="batchnorm"),
                         warm_up=WarmUp(minimum_rows=1))
    client.count(made.name, FIRST)
    now = client.get(made.name)
    s = client.snapshot(made.name, "a")
    assert s.name == made.name + "/snapshots/a"
    for field in ("revision", "row_count", "generation", "scaling", "window",
                  "nonfinite", "warm_up", "moments", "features",
                  "schema_hash"):
        assert getattr(s, field) == getattr(now, field), field
    assert s.create_time.seconds > 1_600_000_000
    answer = client.normalize(s.name, SECOND, mode=pb.NORMALIZE_ONLY)
    assert (answer.revision, answer.row_count, answer.generation) == (
        s.revision, 3, s.generation)
    assert answer.counted_rows == 0 and not answer.warming_up
    assert client.statistics(s.name).name == s.name


def test_a_snapshot_changes_nothing(client, made):
    client.count(made.name, FIRST)
    with unchanged(client, made.name):
        s = client.snapshot(made.name, "a")
        reading(client, s.name)
        client.delete_snapshot(s.name)


def test_a_frozen_normalizer_can_be_kept(client, made):
    client.count(made.name, FIRST)
    client.freeze(made.name)
    s = client.snapshot(made.name, "a")
    np.testing.assert_allclose(client.look(s.name, SECOND),
                               standard(SECOND, FIRST))


def test_a_snapshot_without_enough_rows_warms_up_for_ever(client, made):
    s = client.snapshot(made.name, "empty")
    client.count(made.name, FIRST)
    answer = client.normalize(s.name, SECOND, mode=pb.NORMALIZE_ONLY)
    assert answer.warming_up
    np.testing.assert_allclose(
        decode(answer.output.data, FP64).reshape(SECOND.shape),
        SECOND - SECOND.mean(0))
    with refused(Code.FAILED_PRECONDITION, "NOT_WARMED_UP"):
        client.denormalize(s.name, SECOND)


@pytest.mark.parametrize("mode", [pb.MODE_UNSPECIFIED,
                                  pb.UPDATE_THEN_NORMALIZE,
                                  pb.NORMALIZE_THEN_UPDATE, pb.UPDATE_ONLY])
def test_rows_are_never_counted_in_a_snapshot(client, made, mode):
    client.count(made.name, FIRST)
    s = client.snapshot(made.name, "a").name
    with unchanged(client, made.name):
        with invalid("mode", says=["NORMALIZE_ONLY", s]):
            client.normalize(s, SECOND, mode=mode)
        with invalid("name", says=["snapshot never changes"]):
            client.merge(s, *moments(SECOND))
        for method in (client.reset, client.freeze, client.get,
                       client.delete):
            with invalid("name", says=["snapshot never changes"]):
                method(s)
        answer, = client.call("ExchangeMoments", pb.ExchangeMomentsRequest(
            merges=[pb.MergeMomentsRequest(name=s, count=1)])).merges
        assert "never changes" in answer.status.message


def test_a_stream_reads_snapshots_too(client, made):
    client.count(made.name, FIRST)
    s = client.snapshot(made.name, "a").name
    one, two = client.stream(iter([
        normalize_request(s, SECOND),
        normalize_request(s, SECOND, mode=pb.NORMALIZE_ONLY)]))
    assert one.status.code == Code.INVALID_ARGUMENT.value[0]
    np.testing.assert_allclose(
        decode(two.output.data, FP64).reshape(SECOND.shape),
        standard(SECOND, FIRST))


def test_a_snapshot_can_be_of_one_revision_only(client, made):
    revision = client.count(made.name, FIRST).revision
    with refused(Code.FAILED_PRECONDITION, "REVISION_NOT_KEPT"):
        client.snapshot(made.name, "a", revision=revision + 1)
    s = client.snapshot(made.name, "a", revision=revision)
    client.count(made.name, FIRST)
    z = client.look(s.name, SECOND)
    client.denormalize(s.name, z, revision=revision)
    with refused(Code.FAILED_PRECONDITION, "REVISION_NOT_KEPT"):
        client.denormalize(s.name, z, revision=revision + 1)


def test_schema_and_shape_are_checked_as_ever(client, made):
    client.count(made.name, FIRST)
    s = client.snapshot(made.name, "a").name
    with refused(Code.FAILED_PRECONDITION, "SCHEMA_MISMATCH"):
        client.normalize(s, SECOND, mode=pb.NORMALIZE_ONLY, schema_hash=7)
    with invalid("input.shape"):
        client.look(s, [[1.0, 2.0, 3.0]])


def test_statistics_of_a_snapshot_know_the_features(client):
    name = client.create(2, feature_names=["speed", "load"]).name
    client.count(name, FIRST)
    s = client.snapshot(name, "a").name
    client.count(name, SECOND)
    f, = client.statistics(s, view=pb.GetStatisticsRequest.FEATURES,
                           names=["load"]).features
    assert (f.name, f.count, f.mean) == ("load", 3, 20)


def test_the_same_name_is_refused_until_it_is_deleted(client, made):
    client.count(made.name, FIRST)
    s = client.snapshot(made.name, "a")
    with refused(Code.ALREADY_EXISTS, "SNAPSHOT_EXISTS", says=[s.name]):
        client.snapshot(made.name, "a")
    client.count(made.name, FIRST)
    client.delete_snapshot(s.name)
    for call in (client.get_snapshot, client.delete_snapshot,
                 lambda n: client.look(n, SECOND), client.statistics):
        with no_snapshot():
            call(s.name)
    client.delete_snapshot(s.name, allow_missing=True)
    assert client.snapshot(made.name, "a").row_count == 6


def test_pages_list_every_snapshot_once(client, made):
    names = [client.snapshot(made.name, f"s{i}").name for i in range(7)]
    assert [s.name for s in client.list_snapshots(made.name).snapshots
            ] == names
    found, token = [], ""
    while True:
        page = client.list_snapshots(made.name, page_size=3, page_token=token)
        found += [s.name for s in page.snapshots]
        token = page.next_page_token
        if not token:
            break
    assert found == names
    with invalid("page_size"):
        client.list_snapshots(made.name, page_size=-1)
    with invalid("page_token"):
        client.list_snapshots(made.name, page_token="x")


BAD_NAMES = ["normalizers/a", "normalizers/a/snapshots/",
             "normalizers/a/snapshots/A", "normalizers/A/snapshots/a",
             "normalizers/a/snapshots/b/snapshots/c", "/snapshots/a", ""]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names_are_refused(client, name):
    with invalid("name"):
        client.get_snapshot(name)
    with invalid("name"):
        client.delete_snapshot(name)


@pytest.mark.parametrize("snapshot_id", ["", "A", "a/b", "a" * 129, "../x"])
def test_bad_ids_are_refused(client, made, snapshot_id):
    with invalid("snapshot_id"):
        client.snapshot(made.name, snapshot_id)


def test_unknown_normalizers_have_no_snapshots(client):
    for call in (lambda: client.snapshot("normalizers/nowhere", "a"),
                 lambda: client.list_snapshots("normalizers/nowhere"),
                 lambda: client.get_snapshot("normalizers/nowhere/snapshots/a"),
                 lambda: client.look("normalizers/nowhere/snapshots/a",
                                     SECOND)):
        with not_found():
            call()


def test_deleting_the_normalizer_deletes_its_snapshots(start, connect):
    server = start()
    client = connect(server)
    name = client.create(2, "gone").name
    client.create(2, "gone.other")
    client.count(name, FIRST)
    client.snapshot(name, "a")
    client.snapshot("normalizers/gone.other", "a")
    client.delete(name)
    client.create(2, "gone")
    assert not client.list_snapshots(name).snapshots
    server.kill()
    client = connect(start())
    assert not client.list_snapshots(name).snapshots
    assert len(client.list_snapshots("normalizers/gone.other").snapshots) == 1


def test_deleted_snapshots_stay_deleted(start, connect):
    server = start()
    client = connect(server)
    name = client.create(2, "kept").name
    for snapshot in ("a", "b", "c"):
        client.snapshot(name, snapshot)
    client.delete_snapshot(name + "/snapshots/b")
    server.kill()
    client = connect(start())
    assert [s.name[-1] for s in client.list_snapshots(name).snapshots
            ] == ["a", "c"]


def test_limits_name_their_flags(start, connect):
    client = connect(start("--store=memory", "--max_snapshots=2",
                           "--max_total_features=10"))
    name = client.create(2, "two").name
    for snapshot in ("a", "b"):
        client.snapshot(name, snapshot)

    def limited(flag):
        return refused(Code.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED", says=[flag])

    with limited("--max_snapshots"):
        client.snapshot(name, "c")
    other = client.create(3, "three").name
    with limited("--max_total_features"):
        client.snapshot(other, "a")
    client.delete_snapshot(name + "/snapshots/a")
    client.delete_snapshot(name + "/snapshots/b")
    client.snapshot(other, "a")
    client.delete(other)
    for snapshot in ("a", "b"):
        client.snapshot(name, snapshot)
    client.create(4, "four")
