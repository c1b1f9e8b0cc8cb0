"""NormalizeStream: answers in order, refusals in place."""

import queue
import time

import grpc
import numpy as np
import pytest
from api import (FP32, Code, array, check_status, normalize_request, oracle,
                 pb, unchanged, values)


def batch(i):
    return np.random.default_rng(i).normal(1, 2, (1 + i % 3, 2))


@pytest.fixture
def name(client):
    return client.create(2).name


def test_answers_come_in_the_order_of_the_requests(client, name):
    sizes = [1 + i % 7 for i in range(500)]
    requests = (normalize_request(name, np.ones((n, 2)) * n) for n in sizes)
    answers = list(client.stream(requests))
    assert [a.output.shape[0] for a in answers] == sizes
    assert [a.row_count for a in answers] == list(np.cumsum(sizes))
    assert [a.revision - answers[0].revision for a in answers] == list(
        range(500))


def test_requests_of_a_stream_are_applied_in_their_order(client):
    # Wide values take long to read, so that a later one could overtake.
    name = client.create(4096).name
    requests = [pb.NormalizeRequest(name=name, input=values(
        np.ones((1 + i % 4, 4096)))) for i in range(60)]
    for _ in range(10):
        answers = client.stream(iter(requests))
        revisions = [a.revision for a in answers]
        assert revisions == list(range(revisions[0], revisions[0] + 60))


def test_a_stream_answers_what_single_calls_answer(client, name):
    other = client.create(2).name
    answers = client.stream(normalize_request(name, batch(i))
                            for i in range(20))
    for i, answer in enumerate(answers):
        assert answer.output == client.normalize(other, batch(i)).output


BAD = {
    "shape": (lambda name: normalize_request(name, np.ones((1, 3))),
              (Code.INVALID_ARGUMENT, "INVALID_ARGUMENT", "input.shape[1]")),
    "infinity": (lambda name: normalize_request(name, [[1, np.inf]]),
                 (Code.INVALID_ARGUMENT, "INVALID_ARGUMENT", "input")),
    "bad_name": (lambda name: normalize_request("x", batch(1)),
                 (Code.INVALID_ARGUMENT, "INVALID_ARGUMENT", "name")),
    "unknown": (lambda name: normalize_request("normalizers/none", batch(1)),
                (Code.NOT_FOUND, "NORMALIZER_NOT_FOUND")),
    "schema": (lambda name: normalize_request(name, batch(1), schema_hash=1),
               (Code.FAILED_PRECONDITION, "SCHEMA_MISMATCH")),
    "session": (lambda name: normalize_request(
        name, batch(1), update_id=pb.UpdateId(
            session=b"x" * 16, epoch=1, sequence=1, generation=1)),
        (Code.FAILED_PRECONDITION, "SESSION_UNKNOWN")),
    "nothing": (lambda name: pb.NormalizeRequest(),
                (Code.INVALID_ARGUMENT, "INVALID_ARGUMENT")),
}


@pytest.mark.parametrize("case", BAD)
def test_a_refused_request_is_answered_in_place_and_the_stream_goes_on(
        client, name, case):
    make, want = BAD[case]
    requests = [normalize_request(name, batch(1)), make(name), make(name),
                normalize_request(name, batch(2))]
    first, bad, worse, last = client.stream(iter(requests))
    assert not first.HasField("status") and not last.HasField("status")
    for refusal in (bad, worse):
        check_status(refusal.status, *want)
        refusal.ClearField("status")
        assert refusal == pb.NormalizeResponse()
    assert first.row_count + len(batch(2)) == last.row_count
    assert last.revision == first.revision + 1


def test_refused_requests_change_nothing(client, name):
    client.count(name, batch(5))
    with unchanged(client, name):
        answers = list(client.stream(make(name) for make, _ in BAD.values()))
    assert len(answers) == len(BAD)


def test_one_stream_serves_several_normalizers_modes_and_types(client, name):
    other = client.create(2).name
    rows = batch(2)
    answers = list(client.stream(iter([
        normalize_request(name, rows, mode=pb.UPDATE_ONLY),
        normalize_request(other, rows + 9, FP32),
        normalize_request(name, rows, mode=pb.NORMALIZE_ONLY),
        normalize_request(name, rows, mode=pb.NORMALIZE_THEN_UPDATE)])))
    assert not answers[0].HasField("output")
    assert answers[1].output.datatype == FP32
    assert [a.counted_rows for a in answers] == [3, 3, 0, 3]
    mean, variance = oracle(rows)
    for answer in answers[2:]:
        np.testing.assert_allclose(array(answer.output),
                                   (rows - mean) / np.sqrt(variance),
                                   rtol=1e-12)


def test_a_stream_counts_once(client, name):
    generation, session = client.get(name).generation, client.open_session()
    numbers = [1, 2, 2, 1, 3, 5, 4, 5]
    answers = list(client.stream(
        normalize_request(name, batch(s),
                          update_id=session.id(s, generation))
        for s in numbers))
    assert [a.duplicate for a in answers] == [
        s in numbers[:i] for i, s in enumerate(numbers)]
    assert client.get(name).row_count == sum(len(batch(s))
                                             for s in range(1, 6))


def test_a_conflict_is_answered_in_place(client, name):
    generation, session = client.get(name).generation, client.open_session()
    requests = [normalize_request(name, batch(i), update_id=session.id(
        s, generation)) for s, i in ((1, 1), (1, 2), (2000, 3), (2, 4))]
    answers = list(client.stream(iter(requests)))
    check_status(answers[1].status, Code.ABORTED, "SEQUENCE_CONFLICT")
    check_status(answers[2].status, Code.ABORTED, "SEQUENCE_OUT_OF_WINDOW")
    assert answers[3].counted_rows == len(batch(4))


def test_each_answer_comes_before_the_next_request_is_sent(client, name):
    requests = queue.Queue()
    stream = client.stream(iter(requests.get, None))
    for i in range(20):
        requests.put(normalize_request(name, batch(i)))
        answer = next(stream)
        assert answer.output.shape[0] == len(batch(i))
    requests.put(None)
    assert list(stream) == []


def test_a_stream_without_requests_ends_well(client):
    stream = client.stream(iter([]))
    assert list(stream) == []
    assert stream.code() == Code.OK


def test_wait_durable_in_a_stream_is_kept(client, name):
    generation, session = client.get(name).generation, client.open_session()
    answers = client.stream(
        normalize_request(name, batch(s), wait_durable=True,
                          update_id=session.id(s, generation))
        for s in range(1, 20))
    assert all(a.durable_sequence >= s for s, a in enumerate(answers, 1))


def test_a_cancelled_stream_leaves_the_server_well(client, name):
    requests = queue.Queue()
    requests.put(normalize_request(name, batch(1)))
    stream = client.stream(iter(requests.get, None))
    next(stream)
    stream.cancel()
    requests.put(None)
    with pytest.raises(grpc.RpcError) as caught:
        next(stream)
    assert caught.value.code() == Code.CANCELLED
    assert client.normalize(name, batch(2)).counted_rows == len(batch(2))


def test_several_streams_at_once_lose_no_row(client, name):
    streams = [client.stream(normalize_request(name, batch(i))
                             for i in range(k, k + 50)) for k in range(4)]
    counted = sum(a.counted_rows for stream in streams for a in stream)
    assert counted == client.get(name).row_count == sum(
        len(batch(i)) for k in range(4) for i in range(k, k + 50))


@pytest.mark.parametrize("as_numbers", [False, True])
def test_who_never_reads_is_held_up_and_nobody_else(start, connect,
                                                    as_numbers):
    server = start("--store=memory", "--drain_timeout_s=1")
    client = connect(server)
    wide = client.create(1 << 15).name
    rows = np.ones((8, 1 << 15))  # 2 MiB
    big = (pb.NormalizeRequest(name=wide, input=values(rows)) if as_numbers
           else normalize_request(wide, rows))
    sent = []

    def requests():
        while len(sent) < 500:  # 1 GiB
            sent.append(time.monotonic())
            yield big

    before = server.resident_bytes()
    stream = client.stream(requests())
    deadline = time.monotonic() + 60
    while not sent or time.monotonic() - sent[-1] < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert len(sent) < 100, "the server takes no more than it can answer"
    assert server.resident_bytes() - before < 300 << 20
    other = client.create(2).name
    for i in range(100):
        assert client.count(other, batch(i)).counted_rows == len(batch(i))
    server.stop()  # in spite of it
    stream.cancel()


def test_the_stream_ends_when_the_server_does(start, connect):
    server = start("--store=memory")
    client = connect(server)
    name = client.create(2).name
    requests = queue.Queue()
    requests.put(normalize_request(name, batch(1)))
    stream = client.stream(iter(requests.get, None))
    next(stream)
    server.stop()  # an idle stream does not keep it from ending
    requests.put(None)
    with pytest.raises(grpc.RpcError):
        next(stream)
