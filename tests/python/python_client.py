"""What tests of client/python share."""

import itertools

import numpy as np

_ids = itertools.count()


def fresh_name():
    return f"python-{next(_ids)}"


def draw(rows, seed=0, dtype="<f4", features=3):
    """Rows of features of different places and spreads."""
    rng = np.random.default_rng(seed)
    place = np.resize([5, -70, 1e3], features)
    spread = np.resize([1, 9, 30], features)
    return rng.normal(place, spread, (rows, features)).astype(dtype)


def standardized(rows, past):
    """Two passes, in float64."""
    past = np.asarray(past, np.float64)
    return (np.asarray(rows, np.float64) - past.mean(0)) / past.std(0)


def assert_exactly(normalizer, rows):
    """The normalizer counted these rows, each once."""
    rows = np.asarray(rows, np.float64)
    found = normalizer.statistics()
    assert found.row_count == len(rows)
    np.testing.assert_allclose(found.mean, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.variance, rows.var(0), rtol=1e-11)


def moments(rows):
    """Count, mean and m2 of rows."""
    rows = np.asarray(rows, np.float64)
    mean = rows.mean(0)
    return len(rows), mean, ((rows - mean) ** 2).sum(0)
