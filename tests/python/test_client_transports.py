"""client/python: the C library and grpcio give the same results, bit by bit.

(test_client.py and test_client_sessions.py run whole with both.)
"""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
import streamnorm
from python_client import draw, fresh_name, moments
from streamnorm import _grpc_session
from streamnorm._rows import Columns, take_rows
from streamnorm._types import Mode, Target

needs_library = pytest.mark.skipif(
    "STREAMNORM_C_LIBRARY" not in os.environ,
    reason="STREAMNORM_C_LIBRARY is not set")


def run(client):
    """Everything the data path answers."""
    n = client.normalizer(fresh_name(), 3)
    results = []
    for i, mode in enumerate(list(Mode) * 3):
        z, answer = n.normalize(draw(1 + i, i), mode)
        results.append((None if z is None else z.tobytes(),
                        answer._replace(over_lane=None,
                                        durable_sequence=None)))
    for before in (True, False):
        found = n.merge(*moments(draw(9, 5)), before=before)
        results.append([column.tobytes() for column in found[:4]])
    results += [z.tobytes() for z in
                n.normalize_iter([draw(2, i) for i in range(20)])]
    errors = []
    for bad in (lambda: n(np.full((1, 3), np.inf)),
                lambda: n.merge(4, [1, 2, np.nan], [0, 0, 0])):
        with pytest.raises(streamnorm.Error) as error:
            bad()
        errors.append((type(error.value), error.value.reason,
                       error.value.field, error.value.hint,
                       str(error.value).replace(n.name, "")))
    return results, errors


@needs_library
def test_all_ways_to_the_server_give_the_same_results(shared_server):
    found = []
    for options in ({"transport": "grpc"}, {"transport": "c"},
                    {"transport": "c", "lane": False}):
        client = streamnorm.connect(shared_server.address, **options)
        assert client.transport == options["transport"]
        found.append(run(client))
        client.close()
    assert found[0] == found[1] == found[2]


@needs_library
def test_the_library_is_taken_where_it_is_found(shared_server, monkeypatch):
    client = streamnorm.connect(shared_server.address)
    n = client.normalizer(fresh_name(), 3)
    assert client.transport == "c" and n.normalize(draw(2))[1].over_lane
    client.close()


def test_a_library_that_is_named_and_not_there_is_an_error(shared_server):
    code = ("import streamnorm, sys\n"
            "c = streamnorm.connect(sys.argv[1])\n"
            "try: c.transport\n"
            "except streamnorm.FailedPrecondition as e: print(e, e.hint)")
    done = subprocess.run(
        [sys.executable, "-c", code, shared_server.address], text=True,
        capture_output=True, timeout=60,
        env={**os.environ, "STREAMNORM_C_LIBRARY": "/nowhere/lib.so"})
    assert "/nowhere/lib.so" in done.stdout, done.stderr
    assert "STREAMNORM_C_LIBRARY says where" in done.stdout


def test_encoding_and_decoding_of_2048_floats(capsys):
    """Printed, not judged: the machine may be busy. Goal: 10 us."""
    columns = Columns("normalizers/n", 32, ())
    target = Target("normalizers/n", b"n", 1)
    x = draw(64, 1, features=32)
    response = streamnorm._messages.NormalizeResponse()
    response.output.data = x.tobytes()
    answer = response.SerializeToString()
    output = np.empty_like(x)

    def once():
        rows = take_rows(x, columns)
        _grpc_session.normalize_request(
            target, Mode.UPDATE_THEN_NORMALIZE, rows.datatype,
            rows.array).SerializeToString()
        got = streamnorm._messages.NormalizeResponse.FromString(answer)
        _grpc_session.take_output(got, output)

    times = []
    for _ in range(2000):
        begin = time.perf_counter()
        once()
        times.append(time.perf_counter() - begin)
    with capsys.disabled():
        print(f"\n2,048 floats encoded and decoded: "
              f"{1e6 * sorted(times)[1000]:.1f} us (p50)")
    np.testing.assert_array_equal(output, x)
