"""Several merges in one message: each is what it would be alone."""

import numpy as np
import pytest
from api import (FP64, Code, check_status, decode, invalid, merge_request, pb,
                 refused, unchanged)
from rows import BOTH, FIRST, SECOND, moments

STATISTICS = ("mean", "variance", "offset", "scale")


def exchange(client, merges):
    answer = client.call("ExchangeMoments",
                         pb.ExchangeMomentsRequest(merges=merges))
    assert len(answer.merges) == len(merges)
    return answer.merges


def merge(name, rows, **fields):
    return merge_request(name, *moments(rows), **fields)


def entry_refused(answer, code, reason, field=None, says=()):
    check_status(answer.status, code, reason, field, says)
    answer.ClearField("status")
    assert answer == pb.MergeMomentsResponse(), "beside a refusal is nothing"


def assert_counted(client, name, rows):
    columns = client.columns(name)
    assert client.get(name).row_count == len(rows)
    np.testing.assert_allclose(columns["mean"], np.mean(rows, 0), rtol=1e-13)
    np.testing.assert_allclose(columns["variance"], np.var(rows, 0),
                               rtol=1e-12)


def test_each_layer_is_answered_with_its_own_statistics(client):
    rng = np.random.default_rng(3)
    widths = [1, 3, 64, 1000]
    names = [client.create(width).name for width in widths]
    batches = [rng.normal(5, 3, (4, width)) for width in widths]
    more = [rng.normal(-1, 2, (7, width)) for width in widths]
    for rows in (batches, more):
        answers = exchange(client, [
            merge(name, x, return_statistics=True, wait_durable=True)
            for name, x in zip(names, rows)])
    for name, first, second, answer in zip(names, batches, more, answers):
        both = np.concatenate([first, second])
        assert not answer.HasField("status")
        assert (answer.row_count, answer.counted_rows) == (11, 7)
        mean, variance, offset, scale = (
            decode(getattr(answer, field), FP64) for field in STATISTICS)
        np.testing.assert_allclose(mean, both.mean(0), rtol=1e-12)
        np.testing.assert_allclose(variance, both.var(0), rtol=1e-12)
        np.testing.assert_allclose(offset, both.mean(0), rtol=1e-12)
        np.testing.assert_allclose(scale, 1 / both.std(0), rtol=1e-12)
        assert_counted(client, name, both)


def test_an_entry_is_answered_as_merge_moments_would_answer_it(client):
    one, other = client.create(2).name, client.create(2).name
    for rows, fields in ((FIRST, {}), (SECOND, {"return_statistics": True}),
                         (FIRST, {"mode": pb.NORMALIZE_THEN_UPDATE,
                                  "return_statistics": True})):
        alone = client.merge(one, *moments(rows), **fields)
        among, = exchange(client, [merge(other, rows, **fields)])
        among.generation = alone.generation
        assert among == alone


def test_one_normalizer_twice_is_merged_in_the_order_of_the_message(client):
    name = client.create(2).name
    first, second, third = exchange(client, [
        merge(name, FIRST, return_statistics=True),
        merge(name, SECOND, return_statistics=True),
        merge(name, SECOND, return_statistics=True,
              mode=pb.NORMALIZE_THEN_UPDATE)])
    assert [m.row_count for m in (first, second, third)] == [3, 5, 7]
    assert second.revision == first.revision + 1
    np.testing.assert_allclose(decode(first.mean, FP64), FIRST.mean(0))
    np.testing.assert_allclose(decode(second.mean, FP64), BOTH.mean(0))
    assert third.mean == second.mean, "of before the third"
    assert_counted(client, name, np.concatenate([BOTH, SECOND]))


def test_a_refused_entry_is_answered_in_place_and_the_others_count(client):
    names = [client.create(2).name for _ in range(3)]
    frozen = client.create(2).name
    client.freeze(frozen)
    short = merge(names[1], FIRST)
    short.mean = short.mean[:8]
    answers = exchange(client, [
        merge(names[0], FIRST),
        merge("normalizers/nobody", FIRST),
        short,
        merge(names[1], SECOND),
        merge("no name", FIRST),
        merge(frozen, FIRST, fail_if_frozen=True),
        merge(names[2], FIRST, schema_hash=1),
        merge(names[2], FIRST, mode=pb.UPDATE_ONLY),
        merge(names[2], BOTH)])
    bad = "INVALID_ARGUMENT"
    entry_refused(answers[1], Code.NOT_FOUND, "NORMALIZER_NOT_FOUND",
                  says=["merges[1]: ", "nobody"])
    entry_refused(answers[2], Code.INVALID_ARGUMENT, bad, "merges[2].mean",
                  says=["merges[2].mean: 8 bytes, want 16"])
    entry_refused(answers[4], Code.INVALID_ARGUMENT, bad, "merges[4].name")
    entry_refused(answers[5], Code.FAILED_PRECONDITION, "NORMALIZER_FROZEN",
                  says=["merges[5]: "])
    entry_refused(answers[6], Code.FAILED_PRECONDITION, "SCHEMA_MISMATCH",
                  says=["merges[6]: schema_hash"])
    entry_refused(answers[7], Code.INVALID_ARGUMENT, bad, "merges[7].mode")
    assert [answers[i].counted_rows for i in (0, 3, 8)] == [3, 2, 5]
    for name, rows in zip(names, (FIRST, SECOND, BOTH)):
        assert_counted(client, name, rows)


def test_a_message_that_is_sent_again_counts_once(client, session):
    made = [client.create(2), client.create(2)]

    def merges(sequence):
        return [merge(m.name, x, update_id=session.id(sequence, m.generation),
                      return_statistics=True)
                for m, x in zip(made, (FIRST, SECOND))]

    first = exchange(client, merges(1))
    exchange(client, merges(2))
    again = exchange(client, merges(1))
    for answer, before, count in zip(again, first, (3, 2)):
        assert not before.duplicate and before.counted_rows == count
        assert answer.duplicate and answer.counted_rows == 0
        assert answer.row_count == 2 * count
    for m, rows in zip(made, (FIRST, SECOND)):
        assert_counted(client, m.name, np.concatenate([rows, rows]))


def test_entries_that_counted_before_are_duplicates_beside_new_ones(
        client, session):
    made = [client.create(2) for _ in range(3)]
    merges = [merge(m.name, FIRST, update_id=session.id(1, m.generation))
              for m in made]
    client.call("MergeMoments", merges[1])
    answers = exchange(client, merges)
    assert [m.duplicate for m in answers] == [False, True, False]
    twice = exchange(client, [merges[0], merges[0]])
    assert [m.duplicate for m in twice] == [True, True]
    for m in made:
        assert_counted(client, m.name, FIRST)


def test_one_number_twice_in_a_message_counts_once(client, session):
    made = client.create(2)
    first = merge(made.name, FIRST, update_id=session.id(1, made.generation))
    other = merge(made.name, SECOND, update_id=session.id(1, made.generation))
    counted, duplicate, conflict = exchange(client, [first, first, other])
    assert counted.counted_rows == 3 and duplicate.duplicate
    entry_refused(conflict, Code.ABORTED, "SEQUENCE_CONFLICT",
                  says=["merges[2]: update_id.sequence"])
    assert_counted(client, made.name, FIRST)


def test_a_fenced_client_is_refused_in_every_entry_of_its_session(
        client, session):
    made = [client.create(2), client.create(2)]
    stale = [merge(m.name, FIRST, update_id=session.id(1, m.generation))
             for m in made]
    session.progress(made[0].name)  # raises the epoch
    new = merge(made[0].name, SECOND,
                update_id=session.id(1, made[0].generation))
    first, counted, second = exchange(client, [stale[0], new, stale[1]])
    for i, answer in ((0, first), (2, second)):
        entry_refused(answer, Code.ABORTED, "EPOCH_FENCED",
                      says=[f"merges[{i}]: update_id.epoch"])
    assert counted.counted_rows == 2
    assert_counted(client, made[0].name, SECOND)
    assert client.get(made[1].name).row_count == 0


def test_a_frozen_entry_uses_its_number_up_and_the_others_count(
        client, session):
    made = [client.create(2), client.create(2)]
    client.freeze(made[0].name)
    merges = [merge(m.name, FIRST, update_id=session.id(1, m.generation))
              for m in made]
    frozen, counted = exchange(client, merges)
    assert frozen.frozen and frozen.counted_rows == 0
    assert counted.counted_rows == 3
    client.unfreeze(made[0].name)
    assert exchange(client, merges)[0].duplicate
    assert client.get(made[0].name).row_count == 0


def test_one_entry_that_waits_for_the_disk_makes_all_durable(start, connect):
    client = connect(start("--commit_interval_ms=60000"))
    session = client.open_session()
    made = [client.create(2), client.create(2)]

    def merges(sequence, **last):
        updates = [(m, session.id(sequence, m.generation)) for m in made]
        return [merge(updates[0][0].name, FIRST, update_id=updates[0][1]),
                merge(updates[1][0].name, FIRST, update_id=updates[1][1],
                      **last)]

    answers = exchange(client, merges(1))
    assert [m.durable_sequence for m in answers] == [0, 0], "nobody waited"
    answers = exchange(client, merges(2, wait_durable=True))
    assert [m.durable_sequence for m in answers] == [2, 2]
    without_session = merge(made[1].name, FIRST)
    answers = exchange(client, merges(3)[:1] + [without_session])
    assert [m.durable_sequence for m in answers] == [3, 0]


def test_a_message_without_entries_is_refused(client):
    with invalid("merges"):
        exchange(client, [])


def test_a_message_has_at_most_1024_entries(client, made):
    merges = [merge(made.name, FIRST)] * 1024
    with unchanged(client, made.name), invalid("merges", says=["1024"]):
        exchange(client, merges + merges[:1])
    answers = exchange(client, merges)
    assert [m.row_count for m in answers] == [3 * (i + 1) for i in range(1024)]


def test_an_answer_that_could_be_too_large_counts_nothing(start, connect):
    client = connect(start("--store=memory", "--max_message_bytes=100000"))
    name = client.create(500).name
    rows = np.random.default_rng(1).normal(size=(3, 500))
    # 8 KB to ask for 16 KB, with 2560 bytes for the rest: five fit.
    asks = [merge(name, rows, return_statistics=True)] * 6
    with unchanged(client, name), refused(
            Code.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED",
            says=["answer: up to 111360 bytes", "--max_message_bytes"]):
        exchange(client, asks)
    assert exchange(client, asks[:5])[4].row_count == 15
    silent = [merge(name, rows)] * 6
    assert exchange(client, silent)[5].row_count == 33


def test_the_answer_to_the_worst_entries_stays_within_what_is_reckoned(client):
    worst = [merge("\x80" * 300, FIRST), merge("normalizers/" + "\t" * 300,
                                               FIRST)] * 512
    for i, answer in enumerate(exchange(client, worst)):
        assert answer.status.code == Code.INVALID_ARGUMENT.value[0]
        assert answer.ByteSize() < 2560
        assert f"merges[{i}].name" in answer.status.message
