"""Eight actors that share one observation normalizer, and an evaluator that
cannot write.

As in reinforcement learning: each actor is a process with an environment of
its own, wrapped in streamnorm.gym.NormalizeObservation; all name the same
normalizer, so each sees observations normalized with the statistics of all.
Half way this program takes a snapshot, and the evaluator, a process as well,
gets that: its observations stay the same to the bit while the actors go on,
and an update raises Frozen.

    python3 actors.py [--server localhost:50051]
"""

import argparse
import multiprocessing
import sys
import types

import numpy as np
import streamnorm
import streamnorm.gym

NAME, ACTORS, STEPS = "actors.observations", 8, 150
SHAPE = (6,)


class Walk:
    """A random walk far from 0, float64 [6]; each actor's drifts elsewhere."""

    observation_space = types.SimpleNamespace(shape=SHAPE)

    def __init__(self, seed):
        self._rng = np.random.default_rng(seed)
        self._drift = self._rng.normal(0, 0.3, SHAPE)
        self.seen = []

    def _look(self):
        self.seen.append(self._at.copy())
        return self._at

    def reset(self):
        self._at = self._rng.normal([1e3, -50, 0, 7, 1e-2, 3], 1, SHAPE)
        return self._look(), {}

    def step(self, action):
        self._at = self._at + self._drift + self._rng.normal(0, 0.5, SHAPE)
        return self._look(), 0.0, False, False, {}


def act(job):
    """An actor's life: the observations of its walk, [STEPS + 1, 6]."""
    address, seed = job
    with streamnorm.connect(address, name=f"actor {seed}") as client:
        env = streamnorm.gym.NormalizeObservation(Walk(seed), NAME,
                                                  client=client)
        env.reset()
        for _ in range(STEPS):
            env.step(None)  # a policy would act on what this answers
        return np.array(env.seen)


def walk_normalized(snapshot):
    env = streamnorm.gym.NormalizeObservation(Walk(0), snapshot)
    z = [env.reset()[0]]
    return np.array(z + [env.step(None)[0] for _ in range(20)])


def evaluate(job):
    """Walks until the actors are done. How often, were all walks the same, and
    was an update refused?"""
    address, done = job
    client = streamnorm.connect(address, name="evaluator")
    snapshot = client.normalizer(NAME).at("half-way")
    walks = [walk_normalized(snapshot)]
    while not done.is_set() or len(walks) < 2:
        walks.append(walk_normalized(snapshot))
    try:
        snapshot.partial_fit(np.zeros((1, *SHAPE)))
        refused = False
    except streamnorm.Frozen as error:
        print(f"evaluator: {error}")
        refused = True
    client.close()
    return len(walks), all((w == walks[0]).all() for w in walks), refused


def run(client):
    address = client.address
    n = client.normalizer(NAME, features=SHAPE[0])
    with multiprocessing.Manager() as manager, \
            multiprocessing.Pool(ACTORS + 1) as processes:
        rows = processes.map(act, [(address, seed)
                                   for seed in range(ACTORS)], 1)
        snapshot = n.snapshot("half-way")
        done = manager.Event()
        evaluation = processes.apply_async(evaluate, [(address, done)])
        rows += processes.map(act, [(address, 100 + seed)
                                    for seed in range(ACTORS)], 1)
        done.set()
        walks, same, refused = evaluation.get()
    return check(n, snapshot, np.concatenate(rows), walks, same, refused)


def check(n, snapshot, rows, walks, same, refused):
    found = n.statistics()
    mean = np.abs(found.mean / rows.mean(0) - 1).max()
    variance = np.abs(found.variance / rows.var(0) - 1).max()
    print(f"observations of {ACTORS} actors, twice: {len(rows)}; the server "
          f"counted {found.row_count}")
    print(f"against NumPy over all of them: mean within {mean:.0e}, variance "
          f"within {variance:.0e}")
    print(f"evaluator: {walks} walks with the snapshot of "
          f"{snapshot.row_count} rows, "
          + ("all the same to the bit" if same else "NOT the same"))
    return (found.row_count == len(rows) == 2 * snapshot.row_count and
            mean < 1e-9 and variance < 1e-9 and same and refused)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--server", default=":memory:",
                        help="address; default: a private server")
    options = parser.parse_args()
    with streamnorm.connect(options.server) as client:
        try:
            good = run(client)
        finally:
            client.normalizer(NAME).delete()
    print("as claimed" if good else "NOT as claimed")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
