"""Rows that several tests send, and what is to become of them."""

import numpy as np
from api import oracle

FIRST = np.array([[1.0, 10.0], [3.0, 30.0], [8.0, 20.0]])
SECOND = np.array([[2.0, 5.0], [9.0, 90.0]])
BOTH = np.concatenate([FIRST, SECOND])


def standard(rows, past):
    """`rows`, standardized with the statistics of `past`."""
    past = np.asarray(past)
    return (np.asarray(rows) - past.mean(0)) / past.std(0)


def moments(rows):
    """Count, mean and m2, as MergeMoments takes them."""
    mean, variance = oracle(rows)
    return len(rows), mean, variance * len(rows)


def batch(i, features=2):
    """The rows of update `i`; their number differs from update to update."""
    rng = np.random.default_rng(i)
    return rng.normal(3, 2, (1 + i % 5, features))


def batches(updates):
    """The rows of all these updates."""
    return np.concatenate([batch(i) for i in updates])


def send(session, made, sequence, rows=None, **fields):
    """Normalizes the rows of update `sequence`, unless `rows` are given."""
    update = session.id(sequence, made.generation)
    rows = batch(sequence) if rows is None else rows
    return session.client.normalize(made.name, rows, update_id=update,
                                    **fields)
