"""Every acknowledged row counts once: retries, resets, zombies, barriers."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from api import (Code, Session, assert_statistics, bits_of, invalid,
                 normalize_request, pb, refused, unchanged)
from rows import batch, batches, send

WINDOW = 1024  # sequences, as the proto says


def together(functions):
    """Runs all at once; an assertion that fails in one fails the test."""
    with ThreadPoolExecutor(len(functions)) as pool:
        for future in [pool.submit(f) for f in functions]:
            future.result()


# A retry.

def test_a_retry_counts_once(client, made, session):
    first = send(session, made, 1)
    assert not first.duplicate and first.counted_rows == len(batch(1))
    with unchanged(client, made.name):
        for _ in range(3):
            again = send(session, made, 1)
            assert again.duplicate and again.counted_rows == 0
            assert again.revision == first.revision
            assert again.output == first.output


def test_a_retry_is_answered_from_the_statistics_of_now(client, made,
                                                        session):
    send(session, made, 1)
    client.count(made.name, batch(77) + 50)
    again = send(session, made, 1)
    np.testing.assert_array_equal(
        np.frombuffer(again.output.data), client.look(
            made.name, batch(1)).ravel())


def test_a_retry_without_an_id_counts_again(client, made):
    client.count(made.name, batch(1))
    client.count(made.name, batch(1))
    assert client.get(made.name).row_count == 2 * len(batch(1))


@pytest.mark.parametrize("mode", [pb.UPDATE_ONLY, pb.NORMALIZE_THEN_UPDATE])
def test_a_retry_counts_once_in_every_mode(client, made, session, mode):
    send(session, made, 1, mode=mode)
    with unchanged(client, made.name):
        assert send(session, made, 1, mode=mode).duplicate


def test_a_merge_counts_once(client, made, session):
    def merge(sequence):
        return client.merge(made.name, 10, [1, 2], [3, 4], wait_durable=True,
                            update_id=session.id(sequence, made.generation))

    assert merge(1).counted_rows == 10
    with unchanged(client, made.name):
        again = merge(1)
    assert again.duplicate and again.counted_rows == 0
    assert merge(2).row_count == 20
    assert merge(2).durable_sequence == 2


def test_another_payload_under_the_same_number_is_a_conflict(client, made,
                                                             session):
    send(session, made, 1)
    conflict = (Code.ABORTED, "SEQUENCE_CONFLICT")
    other = batch(1).copy()
    other[0, 0] = np.nextafter(other[0, 0], 9)
    with unchanged(client, made.name):
        with refused(*conflict):
            send(session, made, 1, other)
        with refused(*conflict):
            client.merge(made.name, 1, [0, 0], [0, 0],
                         update_id=session.id(1, made.generation))
    assert send(session, made, 1).duplicate


def test_a_refused_request_does_not_use_its_number_up(client, made, session):
    bad = np.full((1, 2), np.inf)
    with unchanged(client, made.name), invalid("input"):
        send(session, made, 1, bad)
    assert send(session, made, 1).counted_rows == len(batch(1))
    with unchanged(client, made.name), refused(
            Code.FAILED_PRECONDITION, "SCHEMA_MISMATCH"):
        send(session, made, 2, schema_hash=1)
    assert not send(session, made, 2).duplicate
    assert session.progress(made.name).applied_sequence == 2


# Order and window.

def test_numbers_may_come_in_any_order(client, made, session):
    order = np.random.default_rng(1).permutation(np.arange(1, 41))
    for sequence in order:
        assert not send(session, made, int(sequence)).duplicate
    for sequence in order:
        assert send(session, made, int(sequence)).duplicate
    assert_statistics(client.columns(made.name), batches(range(1, 41)))
    progress = session.progress(made.name)
    assert progress.applied_sequence == 40 and not bits_of(progress.window)
    assert progress.rows == client.get(made.name).row_count


def test_the_window_tells_which_numbers_were_counted(client, made, session):
    for sequence in (1, 2, 4, 9, 10, 300):
        send(session, made, sequence)
    progress = session.progress(made.name)
    assert progress.applied_sequence == 2 and len(progress.window) == 128
    assert bits_of(progress.window) == [s - 3 for s in (4, 9, 10, 300)]
    assert progress.generation == made.generation
    assert progress.rows == sum(len(batch(s)) for s in (1, 2, 4, 9, 10, 300))
    send(session, made, 3)
    progress = session.progress(made.name)
    assert progress.applied_sequence == 4
    assert bits_of(progress.window) == [s - 5 for s in (9, 10, 300)]


def test_the_last_number_of_the_window_is_taken_and_beyond_refused(
        client, made, session):
    send(session, made, WINDOW)
    with unchanged(client, made.name):
        for sequence in (WINDOW + 2, 2 ** 32, 2 ** 64 - 1):
            with refused(Code.ABORTED, "SEQUENCE_OUT_OF_WINDOW"):
                send(session, made, sequence)
    send(session, made, 1)
    send(session, made, WINDOW + 1)


def test_numbers_far_behind_are_duplicates(client, made, session):
    stream = (normalize_request(made.name, [[1.0, 2.0]], mode=pb.UPDATE_ONLY,
                                update_id=session.id(s, made.generation))
              for s in range(1, 1501))
    assert all(a.counted_rows == 1 for a in client.stream(stream))
    for sequence in (1, 300):
        assert send(session, made, sequence, [[1.0, 2.0]]).duplicate
    assert client.get(made.name).row_count == 1500


def test_each_normalizer_has_its_own_numbers(client, made, session):
    other = client.create(2)
    send(session, made, 1)
    send(session, other, 1)
    send(session, other, 2)
    answer = client.resume(session=session.session)
    assert {p.name: p.applied_sequence for p in answer.progress} == {
        made.name: 1, other.name: 2}


def test_each_session_has_its_own_numbers(client, made):
    for _ in range(3):
        assert not send(client.open_session(), made, 1).duplicate
    assert client.get(made.name).row_count == 3 * len(batch(1))


# Sessions and epochs.

def test_an_unknown_session_creates_nothing(client, made):
    stranger = Session(client, b"0123456789abcdef", 1)
    unknown = (Code.FAILED_PRECONDITION, "SESSION_UNKNOWN")
    sessions = client.info().sessions
    with unchanged(client, made.name):
        for call in (lambda: send(stranger, made, 1), stranger.barrier,
                     stranger.close,
                     lambda: client.resume(session=stranger.session)):
            with refused(*unknown):
                call()
    assert client.info().sessions == sessions


def test_sessions_differ_and_have_16_bytes(client):
    opened = [client.open_session() for _ in range(5)]
    assert len({s.session for s in opened}) == 5
    assert all(len(s.session) == 16 for s in opened)


def test_resume_fences_whoever_held_the_session_before(client, made, session):
    send(session, made, 1)
    resumed = client.resume(session=session.session)
    assert resumed.session == session.session
    assert resumed.epoch > session.epoch
    fenced = (Code.ABORTED, "EPOCH_FENCED")
    with unchanged(client, made.name):
        with refused(*fenced):
            send(session, made, 2)
        with refused(*fenced):
            send(session, made, 1)
        for call in (session.barrier, session.close):
            with refused(*fenced):
                call()
    heir = Session(client, session.session, resumed.epoch)
    assert send(heir, made, 1).duplicate
    assert not send(heir, made, 2).duplicate


def test_a_closed_session_is_unknown_and_its_rows_stay(client, made, session):
    send(session, made, 1)
    rows = client.get(made.name).row_count
    session.close()
    with refused(Code.FAILED_PRECONDITION, "SESSION_UNKNOWN"):
        send(session, made, 2)
    with refused(Code.FAILED_PRECONDITION, "SESSION_UNKNOWN"):
        session.close()
    assert client.get(made.name).row_count == rows


# Generations.

def test_an_update_born_before_a_reset_is_used_up_and_never_counted(
        client, made, session):
    send(session, made, 1)
    reset = client.reset(made.name)
    with unchanged(client, made.name):
        late = send(session, made, 2)
        assert late.counted_rows == 0 and late.row_count == 0
        assert late.generation == reset.generation
    assert send(session, reset, 3).counted_rows == len(batch(3))
    assert session.progress(made.name).applied_sequence == 3


def test_a_retry_from_before_a_reset_is_not_counted(client, made, session):
    send(session, made, 1)
    client.reset(made.name)
    assert send(session, made, 1).counted_rows == 0
    assert client.get(made.name).row_count == 0


def test_progress_counts_the_rows_of_the_living_generation(client, made,
                                                           session):
    send(session, made, 1)
    reset = client.reset(made.name)
    assert session.progress(made.name).rows == 0
    send(session, reset, 2)
    progress = session.progress(made.name)
    assert progress.rows == len(batch(2))
    assert progress.generation == reset.generation


def test_a_generation_that_never_was_is_refused(client, made, session):
    update = session.id(1, made.generation + 1000)
    with unchanged(client, made.name), refused(
            Code.FAILED_PRECONDITION, "GENERATION_UNKNOWN"):
        client.normalize(made.name, batch(1), update_id=update)


def test_nothing_of_a_deleted_normalizer_counts_in_its_successor(
        client, made, session):
    send(session, made, 1)
    client.delete(made.name)
    again = client.create(2, made.name.split("/")[1])
    with unchanged(client, made.name):
        for sequence in (1, 2):
            with refused(Code.FAILED_PRECONDITION, "GENERATION_UNKNOWN"):
                send(session, made, sequence)
    assert send(session, again, 1).counted_rows == len(batch(1))
    assert again.generation != made.generation


def test_a_first_update_may_leave_its_generation_out(client, made, session):
    first = client.normalize(made.name, batch(1), update_id=session.id(1, 0))
    assert first.counted_rows == len(batch(1))
    again = client.normalize(made.name, batch(1), update_id=session.id(1, 0))
    assert again.duplicate


# Barriers.

def test_a_job_restarted_from_its_checkpoint_counts_nothing_twice(
        client, made, session):
    for sequence in range(1, 6):
        send(session, made, sequence)
    barrier = session.barrier()
    assert [p.applied_sequence for p in barrier.progress] == [5]
    assert barrier.progress[0].durable_sequence == 5
    assert len(barrier.token) < 600
    for sequence in range(6, 9):  # after the checkpoint; then the job dies
        send(session, made, sequence)

    resumed = client.resume(token=barrier.token)
    progress = resumed.progress[0]
    assert resumed.session == session.session
    assert (progress.token_sequence, progress.applied_sequence) == (5, 8)
    heir = Session(client, resumed.session, resumed.epoch)
    answers = [send(heir, made, s)
               for s in range(progress.token_sequence + 1, 12)]
    assert [a.duplicate for a in answers] == [True] * 3 + [False] * 3
    assert_statistics(client.columns(made.name), batches(range(1, 12)))


def test_a_barrier_passes_numbers_that_were_refused_for_good(
        client, made, session):
    for sequence in (1, 3, 4, 7):
        send(session, made, sequence)
    with unchanged(client, made.name):
        barrier = session.barrier(**{made.name.split("/")[1]: [2, 5]})
    progress = barrier.progress[0]
    assert (progress.applied_sequence, progress.durable_sequence) == (5, 5)
    assert bits_of(progress.window) == [1]
    with unchanged(client, made.name), refused(
            Code.ABORTED, "SEQUENCE_CONFLICT"):
        send(session, made, 2)  # it would be lost without a word
    assert send(session, made, 6).counted_rows == len(batch(6))
    assert session.progress(made.name).applied_sequence == 7


def test_a_barrier_can_not_skip_what_was_counted(client, made, session):
    send(session, made, 1)
    with unchanged(client, made.name):
        session.barrier(**{made.name.split("/")[1]: [1]})
    assert session.progress(made.name).rows == len(batch(1))


def test_a_token_serves_as_often_as_the_job_restarts(client, made, session):
    send(session, made, 1)
    token = session.barrier().token
    epochs = [client.resume(token=token).epoch for _ in range(3)]
    assert epochs == sorted(set(epochs)) and epochs[0] > session.epoch


def test_a_barrier_of_a_session_without_updates_has_a_token(client, session):
    barrier = session.barrier()
    assert not barrier.progress
    assert client.resume(token=barrier.token).session == session.session


def test_a_token_of_another_history_is_lost_data(client, made, session,
                                                 start, connect):
    send(session, made, 1)
    token = session.barrier().token
    stranger = connect(start("--store=memory"))
    with refused(Code.DATA_LOSS, "HISTORY_LOST"):
        stranger.resume(token=token)


def test_a_token_ahead_of_the_store_is_lost_data(start, connect, folder):
    server = start()
    client = connect(server)
    made, session = client.create(2), client.open_session()
    send(session, made, 1)
    session.barrier()
    server.stop()
    shutil.copytree(folder / "data", folder / "backup")

    server = start()
    session.client = client = connect(server)
    send(session, made, 2)
    token = session.barrier().token
    server.stop()
    shutil.rmtree(folder / "data")
    (folder / "backup").rename(folder / "data")

    with refused(Code.DATA_LOSS, "HISTORY_LOST"):
        connect(start()).resume(token=token)


def test_two_histories_have_two_ids(client, start, connect):
    stranger = connect(start("--store=memory"))
    assert stranger.info().history_id != client.info().history_id


# The audit.

def test_the_clients_count_of_its_rows_is_compared(client, made, session):
    rows = 0
    mismatch = (Code.DATA_LOSS, "ROWS_MISMATCH")
    for sequence in range(1, 6):
        rows += len(batch(sequence))
        for wrong in (rows - 1, rows + 1, 2 ** 64 - 1):
            with unchanged(client, made.name), refused(
                    *mismatch, says=[str(rows), str(wrong), made.name]):
                send(session, made, sequence, rows_sent_total=wrong)
        assert not send(session, made, sequence,
                        rows_sent_total=rows).duplicate
        assert send(session, made, sequence, rows_sent_total=1).duplicate
    moments = [1, 2], [3, 4]
    update = session.id(6, made.generation)
    with unchanged(client, made.name), refused(*mismatch):
        client.merge(made.name, 10, *moments, update_id=update,
                     rows_sent_total=rows + 11)
    client.merge(made.name, 10, *moments, update_id=update,
                 rows_sent_total=rows + 10)


def test_a_count_that_can_not_be_compared_is_let_pass(client, made, session):
    assert not send(session, made, 2, rows_sent_total=999).duplicate
    assert not send(session, made, 1, rows_sent_total=999).duplicate
    reset = client.reset(made.name)
    assert send(session, made, 3, rows_sent_total=999).counted_rows == 0
    client.freeze(made.name)
    assert send(session, reset, 4, rows_sent_total=999).counted_rows == 0
    client.unfreeze(made.name)
    assert send(session, reset, 5, rows_sent_total=len(batch(5))).counted_rows


def test_a_barrier_compares_the_clients_count(client, made, session):
    for sequence in (1, 2, 4):
        send(session, made, sequence)
    rows = sum(len(batch(s)) for s in (1, 2, 4))

    def sent(rows, sequence=4, generation=made.generation, name=made.name):
        return [pb.SentRows(name=name, generation=generation,
                            sequence=sequence, rows=rows)]

    session.barrier(sent(rows + 1))  # 3 is missing
    skip = {made.name.split("/")[1]: [3]}
    with unchanged(client, made.name), refused(Code.DATA_LOSS,
                                               "ROWS_MISMATCH"):
        session.barrier(sent(rows + 1), **skip)
    assert session.barrier(sent(rows)).token
    session.barrier(sent(1, generation=made.generation + 1))
    session.barrier(sent(1, sequence=5))
    session.barrier(sent(1, name="normalizers/no-such"))


# Durability is told.

def test_wait_durable_answers_when_the_update_is_on_disk(client, made,
                                                         session):
    for sequence in (1, 2, 3):
        answer = send(session, made, sequence, wait_durable=True)
        assert answer.durable_sequence >= sequence


def test_durable_sequence_never_goes_back_nor_ahead_of_what_came(
        client, made, session):
    seen = 0
    for sequence in range(1, 60):
        durable = send(session, made, sequence).durable_sequence
        assert seen <= durable <= sequence
        seen = durable
    session.barrier()
    assert send(session, made, 59).durable_sequence == 59


def test_durable_sequence_stops_before_a_gap(client, made, session):
    send(session, made, 1)
    send(session, made, 3)
    session.barrier()
    assert send(session, made, 3).durable_sequence == 1


# Many at once.

def test_concurrent_sessions_are_all_counted_once(client, made):
    def work(first):
        session = client.open_session()
        for sequence in range(1, 41):
            rows = batch(first + sequence)
            for _ in range(2):
                send(session, made, sequence, rows)

    firsts = [100, 200, 300, 400]
    together([lambda first=first: work(first) for first in firsts])
    assert_statistics(client.columns(made.name), batches(
        f + s for f in firsts for s in range(1, 41)))
    assert client.get(made.name).row_count == len(batches(
        f + s for f in firsts for s in range(1, 41)))


def test_the_same_update_sent_by_many_at_once_counts_once(client, made,
                                                          session):
    answers = []

    def work():
        for sequence in range(1, 31):
            answers.append(send(session, made, sequence))

    together([work] * 4)
    assert sum(not a.duplicate for a in answers) == 30
    assert_statistics(client.columns(made.name), batches(range(1, 31)))
