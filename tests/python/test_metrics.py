"""--http_listen: what is counted is what was done, and nobody can hurt it."""

import collections
import contextlib
import json
import pathlib
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from api import Client, normalize_request, not_found, pb
from server_process import SLOW_COMMITS, ServerProcess
from test_operations import FULL, failed_start

ROOT = pathlib.Path(__file__).resolve().parents[2]
HTTP = "--http_listen=127.0.0.1:0"
ROWS = np.array([[1.0, 2.0], [3.0, 5.0]])
SAMPLE = re.compile(r'(\w+)(?:\{(.*)\})? (\S+)')


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("m"), HTTP) as running:
        yield running


@pytest.fixture
def client(server):
    with Client(server.address) as connected:
        yield connected


def ask(server, path, method="GET", body=None):
    """Status and text."""
    request = urllib.request.Request(server.addresses[-1] + path, body,
                                     method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def metrics(server):
    """{(name, label, ...): value}, labels as `key="value"`, sorted."""
    status, text = ask(server, "/metrics")
    assert status == 200
    samples = collections.defaultdict(float)
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = SAMPLE.fullmatch(line).groups()
        pairs = re.findall(r'(\w+="[^"]*")', labels or "")
        samples[(name, *sorted(pairs))] = float(value)
    return samples


def requests(samples, method, code="OK", transport="grpc"):
    return samples[("streamnorm_requests_total", f'code="{code}"',
                    f'method="{method}"', f'transport="{transport}"')]


@contextlib.contextmanager
def grown(server):
    """{sample: how much it grew}, filled at the end."""
    before, growth = metrics(server), collections.defaultdict(float)
    yield growth
    for key, value in metrics(server).items():
        growth[key] = value - before[key]


# What is counted.

def test_unary_requests_count_by_method_and_code(server, client):
    with grown(server) as growth:
        name = client.create(2).name
        for _ in range(3):
            client.count(name, ROWS)
        for _ in range(2):
            with not_found():
                client.count("normalizers/nobody", ROWS)
    assert requests(growth, "CreateNormalizer") == 1
    assert requests(growth, "Normalize") == 3
    assert requests(growth, "Normalize", "NOT_FOUND") == 2
    assert requests(growth, "GetNormalizer") == 0
    assert growth[("streamnorm_request_duration_seconds_count",
                   'method="Normalize"', 'transport="grpc"')] == 5
    assert growth[("streamnorm_request_duration_seconds_bucket", 'le="+Inf"',
                   'method="Normalize"', 'transport="grpc"')] == 5


def test_messages_of_a_stream_count_one_by_one(server, client):
    name = client.create(2).name
    good = normalize_request(name, ROWS)
    bad = normalize_request("normalizers/nobody", ROWS)
    with grown(server) as growth:
        answers = list(client.stream(iter([good, bad, good])))
    assert len(answers) == 3
    assert requests(growth, "NormalizeStream") == 2
    assert requests(growth, "NormalizeStream", "NOT_FOUND") == 1
    assert growth[("streamnorm_rows_counted_total",)] == 4


def test_requests_on_the_lane_count_apart(server, client):
    streamnorm = pytest.importorskip("streamnorm")
    try:
        joined = streamnorm.connect(server.address, transport="c")
    except streamnorm.Error as error:
        pytest.skip(f"no C library: {error}")
    with grown(server) as growth:
        normalizer = joined.normalizer("lane", features=2)
        for _ in range(5):
            normalizer(ROWS)
        joined.barrier()
        samples = metrics(server)
    joined.close()
    assert growth[("streamnorm_rows_counted_total",)] == 10
    if not samples[("streamnorm_lane_connections",)]:
        pytest.skip("the client did not take the lane")
    assert requests(growth, "Normalize", transport="lane") == 5


def test_rows_and_updates_count_what_took_effect(server, client):
    made, session = client.create(2), client.open_session()
    first = session.id(1, made.generation)
    with grown(server) as growth:
        client.normalize(made.name, ROWS, update_id=first)
        client.normalize(made.name, ROWS, update_id=first)
        client.look(made.name, ROWS)
        client.denormalize(made.name, ROWS)
        client.merge(made.name, 7, [0, 0], [0, 0])
        client.freeze(made.name)
        client.normalize(made.name, ROWS)
    assert growth[("streamnorm_rows_counted_total",)] == 2 + 7
    assert growth[("streamnorm_rows_normalized_total",)] == 4 * 2
    assert growth[("streamnorm_rows_denormalized_total",)] == 2
    for result, count in ("counted", 2), ("duplicate", 1), ("frozen", 1):
        assert growth[("streamnorm_updates_total",
                       f'result="{result}"')] == count, result
    assert client.get(made.name).row_count == 9


def test_the_gauges_say_what_is_there(server, client):
    with grown(server) as growth:
        made, session = client.create(7), client.open_session()
        client.count(made.name, np.ones((1, 7)),
                     update_id=session.id(1, made.generation))
    assert growth[("streamnorm_normalizers",)] == 1
    assert growth[("streamnorm_features",)] == 7
    assert growth[("streamnorm_sessions",)] == 1
    assert growth[("streamnorm_ledgers",)] == 1
    samples = metrics(server)
    assert samples[("streamnorm_normalizers",)] == client.info().normalizers
    assert samples[("streamnorm_store_size_bytes",)] > 0
    assert samples[("streamnorm_store_free_bytes",)] > 0
    assert samples[("streamnorm_store_failed",)] == 0
    assert samples[("process_resident_memory_bytes",)] == pytest.approx(
        server.resident_bytes(), rel=0.2)
    assert samples[("process_open_fds",)] > 5
    assert abs(samples[("process_start_time_seconds",)] - time.time()) < 3600
    assert ("streamnorm_build_info", 'store="rocksdb"',
            f'version="{client.info().version}"') in samples


def test_an_open_stream_is_one(server, client):
    name, seen = client.create(2).name, threading.Event()

    def one_until_seen():
        yield normalize_request(name, ROWS)
        seen.wait(20)
    stream = iter(client.stream(one_until_seen()))
    next(stream)
    assert metrics(server)[("streamnorm_open_streams",)] == 1
    seen.set()
    assert list(stream) == []
    deadline = time.monotonic() + 20
    while metrics(server)[("streamnorm_open_streams",)] != 0:
        assert time.monotonic() < deadline


def test_commits_and_their_lag_are_seen(start, connect):
    server = start(HTTP, SLOW_COMMITS)
    client = connect(server)
    made, session = client.create(2), client.open_session()
    commits = ("streamnorm_commit_duration_seconds_count",)
    syncs = ("streamnorm_sync_duration_seconds_count",)
    assert metrics(server)[commits] == metrics(server)[syncs] > 0
    assert metrics(server)[("streamnorm_commit_lag_seconds",)] == 0
    client.count(made.name, ROWS, update_id=session.id(1, made.generation))
    first = metrics(server)[("streamnorm_commit_lag_seconds",)]
    second = metrics(server)[("streamnorm_commit_lag_seconds",)]
    assert 0 < first < second
    client.count(made.name, ROWS)  # waits for the disk
    deadline = time.monotonic() + 20
    while metrics(server)[("streamnorm_commit_lag_seconds",)] != 0:
        assert time.monotonic() < deadline


def test_no_name_is_in_the_metrics(server, client):
    client.create(2, "secret-name")
    session = client.open_session("secret-label")
    text = ask(server, "/metrics")[1]
    assert "secret" not in text and session.session.hex() not in text


# Health.

def test_it_is_alive_and_ready(server):
    assert ask(server, "/healthz") == (200, "ok\n")
    assert ask(server, "/readyz") == (200, "ready\n")


def test_a_full_disk_is_out_of_space_and_ready(start):
    server = start(HTTP, FULL)
    assert metrics(server)[("streamnorm_store_out_of_space",)] == 1
    assert ask(server, "/readyz")[0] == 200


def test_a_draining_server_is_alive_and_not_ready(start, connect):
    server = start(HTTP, "--drain_timeout_s=3")
    client = connect(server)
    name = client.create(2).name
    # Answers that nobody reads keep a stream open until the drain ends.
    large = normalize_request(name, np.ones((1 << 19, 2)),
                              mode=pb.NORMALIZE_ONLY)
    stream = client.stream(iter([large] * 4))
    deadline = time.monotonic() + 20
    while requests(metrics(server), "NormalizeStream") == 0:
        assert time.monotonic() < deadline
    server.process.terminate()
    while ask(server, "/readyz") != (503, "shutting down\n"):
        assert time.monotonic() < deadline
    assert ask(server, "/healthz")[0] == 200
    assert metrics(server)[("streamnorm_open_streams",)] == 1
    assert server.process.wait(30) == 0
    del stream


# Statistics.

def test_statistics_are_those_of_get_statistics(server, client):
    name = client.create(2).name
    client.count(name, ROWS)
    status, text = ask(server, "/statistics/" + name.split("/")[1])
    answer = json.loads(text)
    assert status == 200 and answer["name"] == name
    assert answer["rowCount"] == "2"
    assert [f["mean"] for f in answer["features"]] == [2.0, 3.5]
    client.snapshot(name, "epoch-1")
    path = f"/statistics/{name.split('/')[1]}/snapshots/epoch-1"
    assert json.loads(ask(server, path)[1])["rowCount"] == "2"


def test_statistics_of_nobody_are_not_found(server):
    assert ask(server, "/statistics/nobody")[0] == 404
    assert ask(server, "/statistics/../etc/passwd")[0] in (400, 404)
    assert ask(server, "/statistics/")[0] in (400, 404)


def test_statistics_are_bounded(server, client):
    name = client.create(1001).name.split("/")[1]
    status, text = ask(server, f"/statistics/{name}")
    assert status == 413 and "start=0&end=1000" in text
    text = ask(server, f"/statistics/{name}?start=1&end=1001")[1]
    assert len(json.loads(text)["features"]) == 1000 and len(text) < 500_000
    for query in ("start=x", "start=-5&end=9", "start=9&end=99999", "limit=3",
                  "start=9&end=3"):
        assert ask(server, f"/statistics/{name}?{query}")[0] == 400, query


# Bad neighbours.

@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed(server, method):
    assert ask(server, "/metrics", method, b"x")[0] == 405


def test_unknown_paths_are_not_found(server):
    for path in "/", "/metrics/", "/metricsx", "//metrics", "/%6detrics":
        assert ask(server, path)[0] == 404, path


def connection(server):
    host, port = server.addresses[-1].removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), 20)


def test_slow_and_loud_clients_keep_nobody_from_an_answer(server):
    before = server.resident_bytes()
    with contextlib.ExitStack() as stack:
        for i in range(80):
            slow = stack.enter_context(connection(server))
            with contextlib.suppress(OSError):
                slow.sendall([b"GET /metr", b"", b"POST / HTTP/1.1\r\nX: 1"][i % 3])
        loud = stack.enter_context(connection(server))
        with contextlib.suppress(OSError):
            loud.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * (50 << 20))
        for _ in range(10):
            assert ask(server, "/readyz")[0] == 200
    assert server.resident_bytes() - before < 10 << 20


# Flags.

def test_without_the_flag_there_is_none(start):
    assert len(start("--http_listen=none").addresses) == 1


@pytest.mark.parametrize("address", ["0.0.0.0:0", "nonsense", "unix:/tmp/x"])
def test_where_it_must_not_listen_is_refused(folder, address):
    flag = f"--http_listen={address}"
    text = failed_start(*ServerProcess(folder, flag).command())
    assert "--http_listen" in text and address in text


def test_beyond_loopback_needs_insecure(start):
    server = start("--http_listen=0.0.0.0:0", "--insecure")
    port = server.addresses[-1].rsplit(":")[-1]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz") as answer:
        assert answer.status == 200


def test_a_port_in_use_is_refused(server, folder):
    taken = server.addresses[-1].removeprefix("http://")
    text = failed_start(
        *ServerProcess(folder, f"--http_listen={taken}").command())
    assert taken in text


# What is made of them.

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="package prometheus is missing")


@needs_promtool
def test_promtool_finds_nothing_to_say(server):
    done = subprocess.run(["promtool", "check", "metrics"], text=True,
                          input=ask(server, "/metrics")[1],
                          capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_promtool
@pytest.mark.parametrize("what", ["config prometheus.yml", "rules alerts.yml"])
def test_promtool_takes_the_configuration(what):
    subprocess.run(["promtool", "check", *what.split()], check=True,
                   cwd=ROOT / "deploy" / "prometheus")


def test_alerts_and_dashboard_use_metrics_that_exist(server):
    there = {key[0] for key in metrics(server)}
    for path in "prometheus/alerts.yml", "grafana/dashboard.json":
        text = (ROOT / "deploy" / path).read_text()
        if path.endswith("json"):
            text = " ".join(target["expr"] for panel in
                            json.loads(text)["panels"]
                            for target in panel["targets"])
        else:
            text = re.sub(r"#.*", "", text)
        used = set(re.findall(r"\b((?:streamnorm|process)_\w+)", text))
        assert used and used <= there, used - there


def test_every_alert_has_its_section_in_the_runbook():
    alerts = re.findall(
        r"alert: (\w+)",
        (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())
    sections = re.findall(r"^## (\w+)$",
                          (ROOT / "docs" / "runbook.md").read_text(), re.M)
    assert sections == alerts


def test_every_metric_is_in_the_table(server):
    text = (ROOT / "docs" / "operations.md").read_text()
    families = re.findall(r"^# TYPE (\w+)", ask(server, "/metrics")[1], re.M)
    assert not [name for name in families if f"`{name}" not in text]
