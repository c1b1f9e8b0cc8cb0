"""The process: start, end, limits, health, reflection, a full disk."""

import os
import re
import socket
import subprocess
import time

import grpc
import numpy as np
import pytest
from api import (Client, Code, FP32, Normalizer, Tensor, WarmUp, array, invalid,
                 merge_request, normalize_request, not_found, pb, refused,
                 tensor, unchanged)
from server_process import ServerProcess

ROWS = np.array([[1.0, 2.0], [3.0, 5.0]])
FULL = "--min_free_disk_bytes=4611686018427387904"  # no disk has that much
SERVICES = ["streamnorm.v1.NormalizerService", "streamnorm.v1.AdminService"]


# Start and end.

def test_it_listens_on_every_address_and_says_where(start, folder):
    server = start(listen=["127.0.0.1:0", f"unix:{folder}/socket"])
    assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", server.addresses[0])
    assert server.addresses[1] == f"unix:{folder}/socket"
    with Client(server.addresses[0]) as over_tcp:
        name = over_tcp.create(2).name
    with Client(server.addresses[1]) as over_unix:
        assert over_unix.get(name).features == 2


def test_a_clean_end_keeps_everything_that_was_answered(start, connect):
    server = start("--commit_interval_ms=60000")
    client = connect(server)
    made, session = client.create(2), client.open_session()
    client.normalize(made.name, ROWS,
                     update_id=session.id(1, made.generation))
    before = client.fingerprint(made.name)
    server.stop()
    client = connect(start())
    assert client.fingerprint(made.name) == before
    progress = client.resume(session=session.session).progress[0]
    assert progress.applied_sequence == progress.durable_sequence == 1


def test_the_socket_of_a_killed_server_is_taken_over(start, connect):
    server = start()
    server.kill()
    assert connect(start()).info().incarnation == 2


def failed_start(*command):
    done = subprocess.run(command, capture_output=True, timeout=20)
    assert done.returncode > 0, done  # by itself, not by a signal
    assert done.stderr, "no word about why"
    return done.stderr.decode(errors="replace")


def test_a_second_server_on_the_same_data_is_refused(start, folder):
    start()
    second = ServerProcess(folder, listen=[f"unix:{folder}/other"])
    assert str(folder / "data") in failed_start(*second.command())


def test_a_data_folder_that_is_a_file_is_refused(folder):
    (folder / "data").write_text("mine")
    text = failed_start(*ServerProcess(folder).command())
    assert str(folder / "data") in text
    assert (folder / "data").read_text() == "mine"


@pytest.mark.parametrize("flag", [
    "--no_such_flag", "--store=postgres", "--commit_interval_ms=soon",
    "--commit_interval_ms=-1", "--commit_interval_ms=0", "--max_features=-1",
    "--listen=nonsense"])
def test_a_bad_flag_is_refused_and_named(folder, flag):
    text = failed_start(*ServerProcess(folder, flag).command())
    name, _, got = flag.partition("=")
    assert name in text or (got and got in text), text


# What it says of itself.

def test_server_info_says_what_runs(shared_server, client):
    info = client.info()
    assert info.version and info.store == "rocksdb"
    assert len(info.history_id) == 16 and info.incarnation == 1
    assert info.accepting_updates and not info.quarantined
    assert info.start_time.seconds > 1_600_000_000
    assert info.uptime.ToNanoseconds() > 0
    for flag in ("max_features", "max_normalizers", "max_sessions",
                 "max_message_bytes"):
        assert info.limits[flag] > 0, flag


def test_server_info_counts(start, connect):
    client = connect(start("--store=memory", "--max_features=77"))
    assert client.info().store == "memory"
    assert client.info().limits["max_features"] == 77
    made = [client.create(2) for _ in range(3)]
    client.delete(made[0].name)
    client.open_session()
    client.count(made[1].name, ROWS)
    info = client.info()
    assert (info.normalizers, info.sessions) == (2, 1)
    assert info.commits > 0


def test_incarnation_goes_up_with_every_start(start, connect):
    for incarnation in (1, 2, 3):
        server = start()
        info = connect(server).info()
        assert info.incarnation == incarnation
        server.stop()


# Health, reflection, channelz, by hand.

def unary(client, method, request=b""):
    return client.channel.unary_unary(method)(request, timeout=10)


def test_health_says_serving(client):
    assert unary(client, "/grpc.health.v1.Health/Check") == b"\x08\x01"


def test_health_of_an_unknown_service_is_not_found(client):
    with pytest.raises(grpc.RpcError) as caught:
        unary(client, "/grpc.health.v1.Health/Check", b"\x0a\x04none")
    assert caught.value.code() == Code.NOT_FOUND


def test_reflection_lists_the_services_and_has_their_files(client):
    def ask(request):
        call = client.channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        return next(call(iter([request]), timeout=10))

    services = ask(b"\x3a\x01*")  # list_services
    for service in SERVICES:
        assert service.encode() in services
        # file_containing_symbol
        described = ask(b"\x22" + bytes([len(service)]) + service.encode())
        assert b"proto" in described and service[14:].encode() in described


def test_channelz_answers(client):
    assert unary(client, "/grpc.channelz.v1.Channelz/GetServers")


# Limits.

def limit(flag):
    return refused(Code.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED",
                   says=["--" + flag])


def test_max_features_limits_create(start, connect):
    client = connect(start("--store=memory", "--max_features=8"))
    client.create(8)
    with limit("max_features"):
        client.create(9, "nine")
    with not_found():
        client.get("normalizers/nine")


def test_max_normalizers_limits_create_until_one_is_deleted(start, connect):
    client = connect(start("--store=memory", "--max_normalizers=2"))
    one, two = client.create(1), client.create(1)
    with limit("max_normalizers"):
        client.create(1)
    with refused(Code.ALREADY_EXISTS, "NORMALIZER_EXISTS"):
        client.create(1, two.name.split("/")[1])
    client.delete(one.name)
    client.create(1)


def test_max_total_definition_bytes_limits_create_and_update(start, connect):
    long, short = {"key": "v" * 200}, {"key": "v"}
    many = {f"key{i}": "v" * 255 for i in range(9)}
    server = start("--max_total_definition_bytes=2000")
    client = connect(server)
    one, two = client.create(1, labels=long), client.create(1)
    with limit("max_total_definition_bytes"):
        client.create(1000, feature_names=[f"feature {i}" for i in range(1000)])
    with unchanged(client, two.name), limit("max_total_definition_bytes"):
        client.update(Normalizer(name=two.name, labels=many), "labels")
    server.stop()
    client = connect(start("--max_total_definition_bytes=1"))
    assert client.get(one.name).labels == long, "what is there stays"
    client.update(Normalizer(name=one.name, labels=short), "labels")
    assert client.get(one.name).labels == short, "less is always welcome"
    with limit("max_total_definition_bytes"):
        client.create(1)


def test_max_sessions_limits_open_until_one_is_closed(start, connect):
    client = connect(start("--store=memory", "--max_sessions=2"))
    first = client.open_session()
    client.open_session()
    with limit("max_sessions"):
        client.open_session()
    first.close()
    client.open_session()


def test_max_ledgers_limits_first_updates_also_after_a_restart(start,
                                                               connect):
    def first_update(session, name):
        session.client.count(name, ROWS, update_id=session.id(1, 0))

    server = start()
    client = connect(server)
    names = [client.create(2).name for _ in range(3)]
    session = client.open_session()
    for name in names[:2]:
        first_update(session, name)
    server.stop()
    client = connect(start("--max_ledgers=1"))
    other = client.open_session()
    with unchanged(client, names[2]), limit("max_ledgers"):
        first_update(other, names[2])
    client.delete(names[0])
    with limit("max_ledgers"):
        first_update(other, names[2])
    session.client = client
    session.close()
    first_update(other, names[2])


def test_an_unused_session_ends_and_its_rows_stay(start, connect):
    client = connect(start("--store=memory", "--session_idle_timeout_s=1"))
    name = client.create(2).name
    session = client.open_session()
    client.count(name, ROWS, update_id=session.id(1, 0))
    deadline = time.monotonic() + 20
    while client.info().sessions != 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with unchanged(client, name), refused(Code.FAILED_PRECONDITION,
                                          "SESSION_UNKNOWN"):
        client.count(name, ROWS, update_id=session.id(1, 0))
    assert client.get(name).row_count == len(ROWS)


def test_max_message_bytes_limits_what_comes_and_what_goes(start, connect):
    client = connect(start("--store=memory", "--max_message_bytes=100000"))
    name = client.create(2000).name
    client.count(name, np.ones((6, 2000)))
    with pytest.raises(grpc.RpcError) as caught:
        client.count(name, np.ones((7, 2000)))
    assert caught.value.code() == Code.RESOURCE_EXHAUSTED
    assert client.get(name).row_count == 6
    with limit("max_message_bytes"):
        client.statistics(name)
    assert len(client.columns(name, start=10, end=20)["mean"]) == 10


def test_the_default_takes_a_message_of_48_mib(client):
    rows = np.tile([[1.0, 2.0, 3.0, 4.0]], (3 * 2 ** 20, 1))
    name = client.create(4).name
    assert client.count(name, rows, FP32).counted_rows == len(rows)
    assert list(client.columns(name)["mean"]) == [1, 2, 3, 4]


# Automatic creation.

NEW = "normalizers/new"


@pytest.fixture
def auto_client(start, connect):
    return connect(start("--store=memory", "--auto_create",
                         "--max_features=8"))


def test_auto_create_makes_what_the_first_update_asks_for(auto_client):
    client = auto_client
    session = client.open_session()
    answer = client.normalize(NEW, ROWS,
                              update_id=session.id(1, 0))
    made = client.get(NEW)
    assert answer.counted_rows == 2 and made.features == 2
    assert answer.generation == made.generation
    again = client.normalize(NEW, ROWS,
                             update_id=session.id(1, 0))
    assert again.duplicate and again.row_count == 2
    with not_found():
        client.merge("normalizers/merged", 2, [0.0] * 3, [1.0] * 3)


REFUSED = {
    "name": lambda c: c.count("normalizers/New", ROWS),
    "short": lambda c: c.call("Normalize", pb.NormalizeRequest(
        name=NEW, input=Tensor(shape=[2, 2], data=b"x", datatype=FP32))),
    "infinity": lambda c: c.count(NEW, [[1.0, np.inf]]),
    "overflow": lambda c: c.count(NEW, [[1e200, 0], [-1e200, 0]]),
    "features": lambda c: c.count(NEW, np.ones((1, 9))),
    "schema": lambda c: c.normalize(NEW, ROWS, schema_hash=1),
    "mode": lambda c: c.normalize(NEW, ROWS, mode=9),
    "session": lambda c: c.normalize(NEW, ROWS, update_id=pb.UpdateId(
        session=b"x" * 16, epoch=1, sequence=1)),
    "generation": lambda c: c.normalize(
        NEW, ROWS, update_id=c.open_session().id(1, 99)),
    "no_generation": lambda c: c.normalize(
        NEW, ROWS, update_id=c.open_session().id(2, 0)),
    "window": lambda c: c.normalize(
        NEW, ROWS, update_id=c.open_session().id(5000, 1)),
    "look": lambda c: c.look(NEW, ROWS),
    "denormalize": lambda c: c.denormalize(NEW, ROWS),
    "statistics": lambda c: c.statistics(NEW),
}


@pytest.mark.parametrize("case", REFUSED)
def test_auto_create_makes_nothing_for_a_read_or_a_refusal(auto_client, case):
    with pytest.raises(grpc.RpcError):
        REFUSED[case](auto_client)
    with not_found():
        auto_client.get(NEW)
    assert auto_client.info().normalizers == 0


def test_without_auto_create_an_update_makes_nothing(client):
    with not_found():
        client.count("normalizers/not-there", ROWS)
    with not_found():
        client.get("normalizers/not-there")


# A full disk.

def test_on_a_full_disk_updates_are_refused_and_reads_answered(start,
                                                               connect):
    server = start()
    client = connect(server)
    made, session = client.create(2), client.open_session()
    client.count(made.name, ROWS)
    before = client.fingerprint(made.name)
    server.stop()

    client = connect(start(FULL))
    deadline = time.monotonic() + 20
    while client.info().accepting_updates:
        assert time.monotonic() < deadline
    full = (Code.UNAVAILABLE, "DISK_FULL")
    with refused(*full):
        client.count(made.name, ROWS)
    with refused(*full):
        client.normalize(made.name, ROWS,
                         update_id=session.id(1, made.generation))
    with refused(*full):
        client.merge(made.name, 2, [0, 0], [0, 0])
    with refused(*full):
        client.call("ExchangeMoments", pb.ExchangeMomentsRequest(merges=[
            merge_request(made.name, 2, [0, 0], [0, 0])] * 2))
    np.testing.assert_allclose(client.look(made.name, ROWS), [[-1, -1], [1, 1]])
    assert client.fingerprint(made.name) == before
    bad, good = client.stream(iter([
        normalize_request(made.name, ROWS),
        normalize_request(made.name, ROWS, mode=pb.NORMALIZE_ONLY)]))
    assert bad.status.code == Code.UNAVAILABLE.value[0]
    assert not good.HasField("status")


def test_after_a_full_disk_the_same_update_counts_once(start, connect):
    server = start()
    client = connect(server)
    made, session = client.create(2), client.open_session()
    server.stop()
    server = start(FULL)
    client = connect(server)
    with refused(Code.UNAVAILABLE, "DISK_FULL"):
        client.normalize(made.name, ROWS,
                         update_id=session.id(1, made.generation))
    server.stop()
    client = connect(start())
    answer = client.normalize(made.name, ROWS,
                              update_id=session.id(1, made.generation))
    assert answer.counted_rows == 2 and not answer.duplicate


# Bad neighbours.

def test_bytes_that_are_no_grpc_do_not_hurt(start):
    server = start("--store=memory", listen=["127.0.0.1:0"])
    host, port = server.address.split(":")
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096), b""):
        with socket.create_connection((host, int(port)), 10) as connection:
            connection.sendall(garbage)
    with Client(server.address) as client:
        assert client.create(2).features == 2


def test_the_logs_have_no_data_in_them(start, connect):
    server = start("--store=memory")
    client = connect(server)
    name = client.create(1).name
    client.count(name, [[123456.789]])
    with invalid("input"):
        client.normalize(name, [[np.inf]])
    server.stop()
    assert "123456" not in server.log()


def test_one_that_has_a_warm_up_keeps_it_over_a_restart(start, connect):
    server = start()
    client = connect(server)
    made = client.create(2, warm_up=WarmUp(
        minimum_rows=9, answer=WarmUp.PRIOR,
        prior=WarmUp.Prior(mean=[1, 2], variance=[3, 4], pseudo_rows=5)))
    before = client.look(made.name, ROWS)
    server.stop()
    client = connect(start())
    assert client.get(made.name) == made
    np.testing.assert_array_equal(client.look(made.name, ROWS), before)
    answer = client.call("Normalize", pb.NormalizeRequest(
        name=made.name, input=tensor(ROWS)))
    assert answer.warming_up and array(answer.output).shape == (2, 2)
