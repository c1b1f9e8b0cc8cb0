"""Backups and verification: the two RPCs and the two flags."""

import pathlib
import subprocess
import time

import grpc
import numpy as np
import pytest
from api import Code, invalid, refused
from streamnorm.v1.admin_service_pb2 import VerifyStoreRequest

ROWS = np.array([[1.0, 2.0], [3.0, 5.0]])


@pytest.fixture
def server(start, folder):
    return start(f"--backup_dir={folder}/backups")


@pytest.fixture
def client(server, connect):
    return connect(server)


def run(server, *flags):
    binary = server.command()[0]
    return subprocess.run([binary, *map(str, flags)], capture_output=True,
                          timeout=30, text=True)


# CreateBackup.

def test_the_last_answer_says_what_is_in_the_backup(client, folder):
    name, session = client.create(2).name, client.open_session()
    client.count(name, ROWS)
    *progress, last = client.backup("monday")
    assert progress, "not a word about how far it is"
    for answer in progress:
        assert answer.WhichOneof("state") == "progress"
    backup = last.backup
    path = pathlib.Path(backup.path)
    assert path == folder / "backups/monday"
    assert (backup.normalizers, backup.sessions) == (1, 1)
    assert backup.records == 3  # definition, state, session
    assert backup.history_id == client.info().history_id
    assert backup.sequence > 0 and backup.create_time.seconds > 0
    assert backup.bytes == sum(
        f.stat().st_size for f in path.rglob("*") if f.is_file())
    assert sorted(f.name for f in path.iterdir()) == ["BACKUP", "FLOOR", "db"]
    session.close()


def test_a_restored_backup_has_what_was_counted(server, client, start,
                                                connect, folder):
    made = client.create(2)
    client.count(made.name, ROWS)
    before = client.fingerprint(made.name)
    history = client.info().history_id
    path = client.backup("monday")[-1].backup.path
    client.count(made.name, ROWS)
    server.stop()
    done = run(server, "--restore_from", path, "--data_dir", folder / "new")
    assert done.returncode == 0, done
    assert "1 normalizers" in done.stdout
    restored = connect(start(data="new"))
    assert restored.fingerprint(made.name) == before
    assert restored.info().history_id not in (history, bytes(16))
    assert restored.info().history_id.hex() in done.stdout


@pytest.mark.parametrize("name", [
    "", ".", "..", "../up", "a/b", "/etc", "A", "a b", "-x", "a.tmp", "ä",
    "x\n", "x" * 129])
def test_only_plain_names_are_taken(client, folder, name):
    with invalid("backup_id"):
        client.backup(name)
    assert not list((folder / "backups").iterdir())


@pytest.mark.parametrize("name", ["a", "0", "2026-11-23", "x" * 124])
def test_plain_names_are_taken(client, folder, name):
    client.backup(name)
    assert [f.name for f in (folder / "backups").iterdir()] == [name]


def test_a_taken_name_is_refused(client, folder):
    client.backup("monday")
    with refused(Code.ALREADY_EXISTS, "BACKUP_EXISTS",
                 says=[str(folder / "backups/monday")]):
        client.backup("monday")
    client.backup("tuesday")


def test_without_the_flag_no_backup_is_made(start, connect):
    client = connect(start())
    with refused(Code.FAILED_PRECONDITION, "BACKUPS_DISABLED",
                 says=["--backup_dir"]):
        client.backup("monday")


def test_a_backup_leaves_updates_their_space(start, connect, folder):
    client = connect(start(f"--backup_dir={folder}/backups",
                           "--min_free_disk_bytes=4611686018427387904"))
    with refused(Code.RESOURCE_EXHAUSTED, "BACKUP_NO_SPACE",
                 says=["bytes free, want"]):
        client.backup("monday")
    assert not list((folder / "backups").iterdir())


# VerifyStore.

def test_verify_counts_what_it_looked_at(client):
    name, session = client.create(2), client.open_session()
    client.normalize(name.name, ROWS,
                     update_id=session.id(1, name.generation))
    session.barrier()
    *progress, last = client.verify()
    assert progress
    report = last.report
    assert (report.normalizers, report.sessions, report.ledgers,
            report.records) == (1, 1, 1, 4)
    assert report.damaged_count == 0 and not report.damaged


def test_verify_names_what_is_damaged(server, client, start, connect, folder):
    made = client.create(1000)
    client.count(made.name, np.arange(2000.0).reshape(2, 1000))
    server.stop()
    server = start()  # a table is made of the log
    tables = list((folder / "data/db").glob("*.sst"))
    table = max(tables, key=lambda f: f.stat().st_size)
    raw = bytearray(table.read_bytes())
    raw[len(raw) // 2] ^= 1
    with open(table, "r+b") as file:
        file.write(raw)
    report = connect(server).verify()[-1].report
    assert report.damaged_count >= 1
    assert f"db/{table.name}" in report.damaged[0].problem
    server.stop()
    done = run(server, "--verify", "--data_dir", folder / "data")
    assert done.returncode == 65, done
    assert table.name in done.stdout + done.stderr


def test_a_store_in_memory_has_nothing_to_verify(start, connect):
    client = connect(start("--store=memory"))
    with refused(Code.FAILED_PRECONDITION, "STORE_NOT_ON_DISK"):
        client.verify()
    with refused(Code.FAILED_PRECONDITION, "BACKUPS_DISABLED"):
        client.backup("monday")


def test_requests_are_answered_while_one_runs(client):
    name = client.create(2).name
    for _ in range(5):
        call = client.admin.VerifyStore(VerifyStoreRequest(), timeout=30)
        assert client.count(name, ROWS).counted_rows == 2
        call.cancel()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:  # a cancelled one is over soon
        try:
            assert client.verify()[-1].report.damaged_count == 0
            return
        except grpc.RpcError as error:
            assert error.code() == Code.ABORTED
    pytest.fail("the cancelled verification never ended")


# The flags.

def test_the_flags_exclude_what_makes_no_sense(server, folder):
    for flags in (["--store=memory", "--verify"],
                  ["--store=memory", f"--backup_dir={folder}/b"],
                  ["--verify", "--restore_from=x", "--data_dir=y"],
                  ["--verify"]):
        done = run(server, *flags)
        assert done.returncode == 2, done
        assert "want" in done.stderr


def test_verify_says_what_it_looked_at(server, client, folder):
    client.create(2)
    busy = run(server, "--verify", "--data_dir", folder / "data")
    assert busy.returncode == 69, busy
    assert "another process" in busy.stderr
    server.stop()
    done = run(server, "--verify", "--data_dir", folder / "data")
    assert done.returncode == 0, done
    assert "1 normalizers" in done.stdout and "damaged: 0" in done.stdout
