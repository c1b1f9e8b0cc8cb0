"""kill -9: what was answered is there, what was replayed counts once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
from api import (Code, Normalizer, assert_statistics, bits_of,
                 normalize_request, not_found, pb, refused)
from rows import batch, batches, send
from server_process import SLOW_COMMITS


def test_what_was_answered_without_an_id_survives_kill_9(start, connect):
    server = start("--commit_interval_ms=20")
    client = connect(server)
    made = client.create(2)
    for i in range(5):
        client.count(made.name, batch(i))
    before = client.fingerprint(made.name)
    server.kill()
    client = connect(start("--commit_interval_ms=20"))
    assert client.fingerprint(made.name) == before
    assert_statistics(client.columns(made.name), batches(range(5)))


def test_what_administration_answered_survives_kill_9(start, connect):
    server = start(SLOW_COMMITS)
    client = connect(server)
    ids = ("kept", "deleted", "reset", "frozen", "thawed", "changed")
    names = {i: client.create(2, i).name for i in ids}
    client.count(names["reset"], batch(1))
    client.delete(names["deleted"])
    client.reset(names["reset"])
    for i in ("frozen", "thawed"):
        client.freeze(names[i])
    client.unfreeze(names["thawed"])
    client.update(Normalizer(name=names["changed"], labels={"a": "b"}),
                  "labels")
    session, closed = client.open_session(), client.open_session()
    closed.close()
    want = {i: client.get(names[i]) for i in ids if i != "deleted"}
    server.kill()

    client = connect(start(SLOW_COMMITS))
    assert {i: client.get(names[i]) for i in want} == want
    with not_found():
        client.get(names["deleted"])
    client.resume(session=session.session)
    with refused(Code.FAILED_PRECONDITION, "SESSION_UNKNOWN"):
        client.resume(session=closed.session)


def test_what_a_barrier_answered_survives_kill_9(start, connect):
    server = start(SLOW_COMMITS)
    client = connect(server)
    made, session = client.create(2), client.open_session()
    for sequence in (1, 2, 3):
        send(session, made, sequence)
    token = session.barrier().token
    server.kill()
    client = connect(start(SLOW_COMMITS))
    resumed = client.resume(token=token)
    assert resumed.progress[0].applied_sequence == 3
    assert_statistics(client.columns(made.name), batches((1, 2, 3)))


def test_what_a_close_answered_survives_kill_9(start, connect):
    server = start(SLOW_COMMITS)
    client = connect(server)
    made, session = client.create(2), client.open_session()
    send(session, made, 1)
    session.close()
    server.kill()
    assert connect(start(SLOW_COMMITS)).get(made.name).row_count == len(batch(1))


def test_an_old_epoch_is_fenced_after_a_crash_too(start, connect):
    server = start(SLOW_COMMITS)
    client = connect(server)
    made, session = client.create(2), client.open_session()
    epoch = client.resume(session=session.session).epoch
    server.kill()
    client = connect(start(SLOW_COMMITS))
    session.client = client
    with refused(Code.ABORTED, "EPOCH_FENCED"):
        send(session, made, 1)
    assert client.resume(session=session.session).epoch > epoch


def test_a_generation_never_comes_back_after_a_crash(start, connect):
    server = start(SLOW_COMMITS)
    client = connect(server)
    seen = [client.create(2, "one").generation]
    seen.append(client.reset("normalizers/one").generation)
    client.delete("normalizers/one")
    server.kill()
    client = connect(start(SLOW_COMMITS))
    seen.append(client.create(2, "one").generation)
    seen.append(client.reset("normalizers/one").generation)
    assert len(set(seen)) == 4


class Worker:
    """Streams updates; after a crash sends again exactly what is missing."""

    def __init__(self, client, made, first):
        self.made = made
        self.first = first  # of its payloads
        self.session = client.open_session()
        self.sent = 0
        self.durable = 0
        self.half_way = threading.Event()

    def request(self, sequence):
        return normalize_request(
            self.made.name, batch(self.first + sequence), mode=pb.UPDATE_ONLY,
            update_id=self.session.id(sequence, self.made.generation))

    def run(self, client, until):
        """True if all of the updates up to `until` were answered."""
        self.session.client = client
        missing = self.missing(client) if self.sent else []
        numbers = missing + list(range(self.sent + 1, until + 1))
        try:
            answers = client.stream(map(self.request, numbers))
            for i, answer in enumerate(answers):
                if 2 * i >= len(numbers):
                    self.half_way.set()
                assert not answer.HasField("status"), answer
                assert not answer.duplicate
                self.durable = max(self.durable, answer.durable_sequence)
        except grpc.RpcError as error:
            assert error.code() in (Code.UNAVAILABLE, Code.CANCELLED), error
            self.sent = until  # any of them may have been sent
            return False
        self.sent = until
        return True

    def missing(self, client):
        progress = self.session.progress(self.made.name)
        if progress is None:
            assert self.durable == 0
            return list(range(1, self.sent + 1))
        assert progress.applied_sequence >= self.durable
        counted = {progress.applied_sequence + 1 + i
                   for i in bits_of(progress.window)}
        return [s for s in range(progress.applied_sequence + 1,
                                 self.sent + 1) if s not in counted]

    def rows(self):
        return batches(self.first + s for s in range(1, self.sent + 1))


def test_after_kill_9_and_replay_every_row_is_counted_once(start, connect):
    flag = "--commit_interval_ms=5"
    server = start(flag)
    client = connect(server)
    made = client.create(2)
    workers = [Worker(client, made, first) for first in (1000, 5000)]
    incarnation, history = client.info().incarnation, client.info().history_id
    interrupted = 0
    for goal in (400, 800, 1200, 1600):
        for worker in workers:
            worker.half_way.clear()
        with ThreadPoolExecutor() as pool:
            runs = [pool.submit(w.run, client, goal) for w in workers]
            assert workers[goal // 400 % 2].half_way.wait(60)
            server.kill()
            interrupted += not all([run.result() for run in runs])
        server = start(flag)
        client = connect(server)
    assert interrupted
    assert all([w.run(client, goal + 10) for w in workers])
    assert client.info().incarnation == incarnation + 4
    assert client.info().history_id == history
    rows = np.concatenate([w.rows() for w in workers])
    assert client.get(made.name).row_count == len(rows)
    assert_statistics(client.columns(made.name), rows)
    for worker in workers:
        progress = worker.session.progress(made.name)
        assert progress.applied_sequence == goal + 10
        assert progress.rows == len(worker.rows())


def test_revision_does_not_go_back_over_a_crash_of_durable_updates(
        start, connect):
    server = start(SLOW_COMMITS)
    client = connect(server)
    made, session = client.create(2), client.open_session()
    for sequence in range(1, 8):
        answer = send(session, made, sequence)
    session.barrier()
    server.kill()
    client = connect(start(SLOW_COMMITS))
    assert client.get(made.name).revision == answer.revision
    assert client.count(made.name, batch(1)).revision == answer.revision + 1
