"""streamnorm.gym: the formulas that Gymnasium documents."""

import types

import numpy as np
import pytest
import streamnorm
from python_client import fresh_name
from streamnorm.gym import NormalizeObservation, NormalizeReward


class RunningMeanStd:
    """By its documented formula (Chan et al.), begun with 1e-4 rows."""

    def __init__(self, shape=(), prior=1e-4):
        self.mean, self.var, self.count = np.zeros(shape), np.ones(shape), prior

    def update(self, x):
        x = np.asarray(x, np.float64)
        count = len(x)
        delta = x.mean(0) - self.mean
        total = self.count + count
        m2 = (self.var * self.count + x.var(0) * count +
              delta ** 2 * self.count * count / total)
        self.mean = self.mean + delta * count / total
        self.var, self.count = m2 / total, total


class Env:
    """Walks at random; an episode has ten steps."""

    def __init__(self, shape=(2, 3), num_envs=None, seed=0):
        self.rng = np.random.default_rng(seed)
        space = types.SimpleNamespace(shape=shape)
        self.shape = shape
        if num_envs is None:
            self.observation_space = space
        else:
            self.num_envs = num_envs
            self.single_observation_space = space
            self.shape = (num_envs, *shape)
        self.steps = 0

    def draw(self):
        return self.rng.normal(7, 3, self.shape).astype(np.float32)

    def reset(self, seed=None, options=None):
        self.steps = 0
        return self.draw(), {"seed": seed}

    def step(self, action):
        self.steps += 1
        n = getattr(self, "num_envs", None)
        ended = self.steps % 10 == 0
        reward = self.rng.normal(1, 2, n)
        if n is not None:
            ended = np.full(n, ended)
        return self.draw(), reward, ended, ended, {}

    def colour(self):
        return "green"

    def close(self):
        return None


def test_observations_are_what_gymnasium_makes_of_them(joined):
    env = NormalizeObservation(Env(), fresh_name(), client=joined)
    plain, rms = Env(), RunningMeanStd((2, 3))

    def want(observation):
        rms.update([observation])
        return (observation - rms.mean) / np.sqrt(rms.var + 1e-8)

    got, info = env.reset(seed=3)
    assert info == {"seed": 3}
    np.testing.assert_allclose(got, want(plain.reset()[0]), rtol=1e-4,
                               atol=1e-5)
    for _ in range(50):
        got, reward, *_ = env.step(0)
        observation, same_reward, *_ = plain.step(0)
        assert got.dtype == np.float32 and reward == same_reward
        np.testing.assert_allclose(got, want(observation), rtol=1e-4,
                                   atol=1e-5)
    np.testing.assert_allclose(env.obs_rms.mean, rms.mean, rtol=1e-12)
    np.testing.assert_allclose(env.obs_rms.var, rms.var, rtol=1e-12)
    assert env.obs_rms.count == pytest.approx(rms.count, rel=1e-12)
    assert env.colour() == "green"


def test_vector_environments_count_a_row_of_each(joined):
    env = NormalizeObservation(Env((4,), num_envs=5), fresh_name(),
                               client=joined)
    plain, rms = Env((4,), num_envs=5), RunningMeanStd((4,))
    for got, x in [(env.reset()[0], plain.reset()[0])] + [
            (env.step(0)[0], plain.step(0)[0]) for _ in range(5)]:
        rms.update(x)
        assert got.shape == (5, 4)
    np.testing.assert_allclose(env.obs_rms.var, rms.var, rtol=1e-12)
    np.testing.assert_allclose(
        got, (x - rms.mean) / np.sqrt(rms.var + 1e-8), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num_envs", [None, 4])
def test_rewards_are_what_gymnasium_makes_of_them(joined, num_envs):
    env = NormalizeReward(Env(num_envs=num_envs), fresh_name(), client=joined,
                          gamma=0.9)
    plain, rms = Env(num_envs=num_envs), RunningMeanStd()
    discounted = np.zeros(num_envs or 1)
    env.reset()
    plain.reset()
    for _ in range(60):
        got = env.step(0)[1]
        _, reward, terminated, _, _ = plain.step(0)
        discounted = discounted * 0.9 * (1 - np.asarray(terminated)) + reward
        rms.update(discounted)
        np.testing.assert_allclose(got, reward / np.sqrt(rms.var + 1e-8),
                                   rtol=1e-9)


def test_workers_share_and_evaluation_counts_nothing(joined):
    name = fresh_name()
    a, b = (NormalizeObservation(Env(seed=seed), name, client=joined)
            for seed in (1, 2))
    for env in (a, b):
        env.reset()
        for _ in range(9):
            env.step(0)
    assert joined.normalizer(name).n_samples_seen_ == 20
    a.obs_rms.refresh()
    np.testing.assert_array_equal(a.obs_rms.mean, b.obs_rms.mean)
    a.update_running_mean = False
    a.step(0)
    b.update_running_mean = True
    with b.obs_rms.normalizer.frozen():
        b.step(0)
    assert joined.normalizer(name).n_samples_seen_ == 20
    with pytest.raises(streamnorm.ShapeMismatch, match="6, want 1"):
        NormalizeReward(Env(), joined.normalizer(name))


def test_without_a_prior_statistics_are_the_rows_alone(joined):
    env = NormalizeObservation(Env((1,)), fresh_name(), client=joined,
                               prior_count=0)
    rows = [env.env.draw() * 1e-3 + 1e6 for _ in range(400)]
    env.obs_rms.update(rows)
    np.testing.assert_allclose(np.sqrt(env.obs_rms.var),
                               np.std(np.float64(rows), 0), rtol=1e-9)
