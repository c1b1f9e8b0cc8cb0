"""libstreamnorm through ctypes: as a Python trainer would load it."""

import ctypes
import os
import subprocess

import c_library
import numpy as np
import pytest
from c_library import (FP32, NORMALIZE_ONLY, NORMALIZE_THEN_UPDATE,
                       UPDATE_ONLY, CError, Moments)

if "STREAMNORM_C_LIBRARY" not in os.environ:
    pytest.skip("STREAMNORM_C_LIBRARY is not set", allow_module_level=True)


@pytest.fixture(params=[0, 1], ids=["lane", "grpc"])
def c_client(shared_server, request):
    client = c_library.Client(shared_server.address, no_lane=request.param)
    client.over_lane = not request.param
    yield client
    client.close()


@pytest.fixture
def name(c_client, request):
    made = "c-" + "".join(c if c.isalnum() else "-"
                          for c in request.node.name.lower())
    c_client.create(made, 3)
    return made


def rows(n, seed, dtype="<f4"):
    rng = np.random.default_rng(seed)
    return rng.normal([5, -70, 1e3], [1, 9, 30], (n, 3)).astype(dtype)


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_rows_are_normalized_with_all_rows_so_far(c_client, name, dtype):
    session = c_client.session()
    seen = np.empty((0, 3))
    for step in range(10):
        x = rows(4, step, dtype)
        z = session.normalize(name, x)
        seen = np.vstack([seen, x])
        want = (x - seen.mean(0)) / seen.std(0)
        np.testing.assert_allclose(z, want,
                                   rtol=1e-5 if dtype == "<f4" else 1e-10,
                                   atol=1e-5 if dtype == "<f4" else 1e-10)
        assert session.answer.row_count == len(seen)
        assert session.answer.counted_rows == 4
        assert session.answer.over_lane == c_client.over_lane
    (mean, variance, offset, scale), count = c_client.statistics(name, 3)
    np.testing.assert_allclose(mean, seen.mean(0), rtol=1e-12)
    np.testing.assert_allclose(variance, seen.var(0), rtol=1e-12)
    np.testing.assert_allclose(offset, mean, rtol=1e-12)
    np.testing.assert_allclose(scale, 1 / seen.std(0), rtol=1e-12)
    assert count == 40
    session.close()


def test_normalize_only_counts_nothing(c_client, name):
    session = c_client.session()
    session.normalize(name, rows(50, 1), UPDATE_ONLY)
    x = rows(4, 2)
    z = session.normalize(name, x, NORMALIZE_ONLY)
    np.testing.assert_array_equal(z, c_client.normalize_only(name, x))
    assert c_client.statistics(name, 3)[1] == 50
    session.close()


def test_answers_come_in_the_order_of_submission(c_client, name):
    session = c_client.session()
    batches = [rows(2, seed) for seed in range(30)]
    for x in batches:
        session.submit(name, x)
    assert session.in_flight() == 30
    with pytest.raises(CError, match="in flight"):
        session.normalize(name, batches[0])
    for i, x in enumerate(batches):
        session.receive(x)
        assert session.answer.row_count == 2 * (i + 1)
    with pytest.raises(CError, match="no answer is due"):
        session.receive(batches[0])
    session.close()


def test_exchange_merges_each_entry_by_itself(c_client, name):
    other = name + "-other"
    c_client.create(other, 3)
    session = c_client.session()
    x = rows(64, 3, "<f8")
    mean, m2 = x.mean(0), ((x - x.mean(0)) ** 2).sum(0)
    out = np.zeros((2, 3))
    double_p = ctypes.POINTER(ctypes.c_double)

    def entry(normalizer, features=3):
        return Moments(normalizer=normalizer.encode(), count=64,
                       features=features, mean=mean.ctypes.data_as(double_p),
                       m2=m2.ctypes.data_as(double_p))

    moments = (Moments * 3)(entry(name), entry(other, 2), entry(other))
    moments[2].out_mean = out[0].ctypes.data_as(double_p)
    moments[2].out_variance = out[1].ctypes.data_as(double_p)
    session.exchange(moments)
    assert [m.error.code for m in moments] == [0, 3, 0]
    assert b"merges[1].mean" in moments[1].error.message
    assert moments[2].answer.row_count == 64
    assert moments[2].answer.over_lane == c_client.over_lane
    np.testing.assert_allclose(out, [mean, x.var(0)], rtol=1e-12)
    assert c_client.statistics(name, 3)[1] == 64
    session.close()


def test_resumed_session_counts_its_steps_once(c_client, name):
    session = c_client.session()
    session.normalize(name, rows(4, 0))
    token = session.barrier()
    session.normalize(name, rows(4, 1))
    session.free()
    session = c_client.session(token)
    session.normalize(name, rows(4, 1))
    assert session.answer.duplicate
    session.normalize(name, rows(4, 2))
    assert c_client.statistics(name, 3)[1] == 12
    session.close()


def test_errors_say_what_is_wrong_and_count_nothing(c_client, name):
    session = c_client.session()
    x = rows(4, 0)
    with pytest.raises(CError, match=r"shape\[1\]: 4, want 3") as wrong:
        session.normalize(name, np.ones((3, 4), "<f4"))
    assert (wrong.value.code, wrong.value.reason) == (3, "INVALID_ARGUMENT")
    with pytest.raises(CError, match="not-there") as missing:
        session.normalize("not-there", x)
    assert missing.value.reason == "NORMALIZER_NOT_FOUND"
    with pytest.raises(CError, match="exists with 3 features, want 7"):
        c_client.create(name, 7)
    for change, words in [({0: None}, "session: NULL"), ({1: None}, "id: NULL"),
                          ({2: 9}, "mode: 9"), ({3: 7}, "dtype: 7"),
                          ({4: 0}, "rows, features: 0"),
                          ({5: 2 ** 63}, "rows, features"),
                          ({6: None}, "input: NULL"),
                          ({7: None}, "output: NULL")]:
        arguments = [session.pointer, name.encode(), NORMALIZE_THEN_UPDATE,
                     FP32, 4, 3, x.ctypes.data, x.ctypes.data, None]
        for i, value in change.items():
            arguments[i] = value
        with pytest.raises(CError, match=words):
            c_client.call("sn_normalize", *arguments)
    assert c_client.statistics(name, 3)[1] == 0
    session.normalize(name, x)
    session.close()


def test_no_server_is_an_error_in_time(folder):
    with pytest.raises(CError) as error:
        c_library.Client(f"unix:{folder}/nobody", request_timeout_ms=200)
    assert error.value.code in (4, 14)


def test_library_shows_its_functions_and_nothing_else():
    symbols = subprocess.run(
        ["nm", "-D", "--defined-only", os.environ["STREAMNORM_C_LIBRARY"]],
        check=True, capture_output=True, text=True).stdout.split("\n")
    names = {line.split()[-1].split("@")[0] for line in symbols if line}
    assert names - {"STREAMNORM_1"} == {
        name for name in names if name.startswith("sn_")}
    assert "sn_normalize" in names
