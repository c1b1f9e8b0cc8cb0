"""streamnorm.sklearn: an estimator as scikit-learn wants it."""

import gc
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import sklearn.preprocessing
import streamnorm
import streamnorm.sklearn
from python_client import draw, fresh_name
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks
from streamnorm.sklearn import StandardScaler


@pytest.fixture(autouse=True)
def server(monkeypatch, shared_server):
    monkeypatch.setenv("STREAMNORM_SERVER", shared_server.address)


@parametrize_with_checks([StandardScaler(), StandardScaler(with_mean=False),
                          StandardScaler(with_std=False)])
def test_scikit_learn_finds_nothing_wrong(estimator, check):
    check(estimator)


@pytest.mark.parametrize("options", [{}, {"with_mean": False},
                                     {"with_std": False},
                                     {"with_mean": False, "with_std": False}])
def test_it_answers_what_scikit_learns_does(options):
    x = draw(100, 1, "<f8")
    x[5, 1] = np.nan
    x[:, 2] = 14.62  # constant
    ours, theirs = StandardScaler(**options), \
        sklearn.preprocessing.StandardScaler(**options)
    for scaler in (ours, theirs):
        scaler.fit(x[:50]).partial_fit(x[50:])
    np.testing.assert_allclose(ours.transform(x), theirs.transform(x),
                               atol=1e-12)
    for attribute in ("mean_", "var_", "scale_", "n_samples_seen_"):
        want, got = getattr(theirs, attribute), getattr(ours, attribute)
        if want is None:
            assert got is None
        else:
            np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-20)
    np.testing.assert_allclose(ours.inverse_transform(ours.transform(x)), x)
    assert ours.transform(x.astype("f4")).dtype == np.float32


def test_names_go_through():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(draw(10), columns=["a", "b", "c"])
    scaler = StandardScaler().fit(frame)
    assert list(scaler.get_feature_names_out()) == ["a", "b", "c"]
    scaler.set_output(transform="pandas")
    assert list(scaler.transform(frame).columns) == ["a", "b", "c"]


def test_a_pickled_one_goes_on_by_itself():
    x, y = draw(50, 1, "<f8"), draw(20, 2, "<f8")
    one = StandardScaler().fit(x)
    other = pickle.loads(pickle.dumps(one))
    np.testing.assert_allclose(other.transform(x), one.transform(x))
    other.partial_fit(y)
    both = np.concatenate([x, y])
    np.testing.assert_allclose(other.mean_, both.mean(0))
    np.testing.assert_allclose(other.var_, both.var(0))
    np.testing.assert_allclose(one.transform(x).mean(0), 0, atol=1e-9)
    assert (one.n_samples_seen_, other.n_samples_seen_) == (50, 70)


def test_a_named_one_is_shared_between_processes():
    name = fresh_name() + "-sklearn"
    x, y = draw(50, 1, "<f8"), draw(20, 2, "<f8")
    one = StandardScaler(name).fit(x)
    code = ("import pickle, sys; one, y = pickle.load(sys.stdin.buffer);"
            "one.partial_fit(y); print(one.n_samples_seen_)")
    done = subprocess.run([sys.executable, "-c", code], timeout=60,
                          input=pickle.dumps((one, y)), capture_output=True)
    assert done.stdout.split() == [b"70"], done.stderr
    both = np.concatenate([x, y])
    np.testing.assert_allclose(one.transform(x),
                               (x - both.mean(0)) / both.std(0))
    assert clone(one).fit(y).n_samples_seen_ == 90  # it forgets nothing
    with pytest.raises(streamnorm.SchemaMismatch, match="scaling.center"):
        StandardScaler(name, with_mean=False).fit(x)


def test_a_private_one_goes_with_its_estimator(shared_server):
    client = streamnorm.connect(shared_server.address)
    before = client.server_info().normalizers
    scaler = make_pipeline(StandardScaler()).fit(draw(10))
    assert client.server_info().normalizers == before + 1
    pid = os.fork()
    if pid == 0:
        del scaler
        gc.collect()
        os._exit(0)
    os.waitpid(pid, 0)
    assert client.server_info().normalizers == before + 1
    del scaler
    gc.collect()
    assert client.server_info().normalizers == before
    client.close()


def test_without_a_server_it_has_one_of_its_own():
    code = ("from streamnorm.sklearn import StandardScaler;"
            "print(StandardScaler().fit([[1.], [3.]]).transform([[3.]]))")
    environment = {k: v for k, v in os.environ.items()
                   if k != "STREAMNORM_SERVER"}
    done = subprocess.run([sys.executable, "-c", code], timeout=60, text=True,
                          capture_output=True, env=environment)
    assert done.stdout.strip() == "[[1.]]", done.stderr
