"""Gymnasium's NormalizeObservation and NormalizeReward over statistics that
all workers share.

Formulas: gymnasium.wrappers, RunningMeanStd (Chan et al., parallel variance):
the prior is `prior_count` rows of mean 0 and variance 1, Gymnasium's 1e-4;
0 leaves it out. The server keeps the rows alone, exactly once; the prior is
added here, so wrappers with another one may share them.

Environments are used by their methods, and gymnasium is not imported: the
wrappers are none of its classes, so put them outermost.
"""

from __future__ import annotations

from typing import Any, Optional, Tuple

import numpy as np

from ._client import Client, connect
from ._errors import ShapeMismatch
from ._normalizer import Normalizer
from ._types import Statistics


class _Wrapper:
    """Everything else is the environment's."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "env":
            raise AttributeError(name)
        return getattr(self.env, name)


PRIOR_COUNT = 1e-4


class RunningMeanStd:
    """Gymnasium's, kept by a normalizer. `mean`, `var`: of `shape`, as they
    were when this was last used."""

    def __init__(self, normalizer: Normalizer, shape: Tuple[int, ...],
                 prior_count: float = PRIOR_COUNT) -> None:
        self.normalizer = normalizer
        self.prior_count = prior_count
        self.mean = np.zeros(shape)
        self.var = np.ones(shape)
        self.count = prior_count

    def update(self, rows: Any) -> None:
        """Counts rows, [rows, *shape]; within `normalizer.frozen()` none."""
        if self.normalizer.is_frozen_here:
            self.refresh()
            return
        x = np.asarray(rows, np.float64).reshape(-1, self.mean.size)
        mean = x.mean(0)
        found = self.normalizer.merge(len(x), mean,
                                      ((x - mean) ** 2).sum(0))
        self._take(found.mean, found.variance, found.answer.row_count)

    def refresh(self) -> None:
        """What all workers counted, and no update."""
        found = self.normalizer.statistics()
        self._take(found.mean, found.variance, found.row_count)

    def _take(self, mean: np.ndarray, variance: np.ndarray,
              rows: int) -> None:
        """Adds the prior (mean 0, variance 1) to the rows' statistics."""
        self.count = rows + self.prior_count
        if self.count == 0:
            return
        share = rows / self.count
        rest = self.prior_count / self.count
        shape = self.mean.shape
        self.mean = (mean * share).reshape(shape)
        self.var = (variance * share + rest +
                    mean ** 2 * share * rest).reshape(shape)


def _normalizer_of(normalizer: Any, client: Optional[Client],
                   features: int) -> Normalizer:
    """By name, or one that there is."""
    if isinstance(normalizer, Normalizer):
        if normalizer.features != features:
            raise ShapeMismatch(
                f"normalizer.features: {normalizer.features}, want {features}",
                field="normalizer.features")
        return normalizer
    return (client or connect()).normalizer(normalizer, features)


class NormalizeObservation(_Wrapper):
    """(observation - mean) / sqrt(var + epsilon), mean and variance of all
    observations so far, this one included, of all workers that name the same
    `normalizer`. The result is float64, or float32 where observations are.

    `normalizer`: a name, or a Normalizer of as many features as an observation
    has values. `vectorized`: env is several environments, and an observation
    one row of each (default: it says so by `num_envs`).
    `update_running_mean = False`: evaluation.
    """

    def __init__(self, env: Any, normalizer: Any, *,
                 client: Optional[Client] = None, epsilon: float = 1e-8,
                 prior_count: float = PRIOR_COUNT,
                 vectorized: Optional[bool] = None) -> None:
        super().__init__(env)
        if vectorized is None:
            vectorized = hasattr(env, "num_envs")
        space = (env.single_observation_space if vectorized else
                 env.observation_space)
        shape = tuple(space.shape)
        self.vectorized = vectorized
        self.epsilon = epsilon
        self.update_running_mean = True
        self.obs_rms = RunningMeanStd(
            _normalizer_of(normalizer, client, int(np.prod(shape))), shape,
            prior_count)

    def reset(self, **options: Any) -> Any:
        observation, info = self.env.reset(**options)
        return self.normalize(observation), info

    def step(self, action: Any) -> Any:
        observation, *rest = self.env.step(action)
        return (self.normalize(observation), *rest)

    def normalize(self, observation: Any) -> Any:
        rows = observation if self.vectorized else [observation]
        if self.update_running_mean:
            self.obs_rms.update(rows)
        dtype = np.result_type(np.asarray(observation).dtype, np.float32)
        return ((observation - self.obs_rms.mean) / np.sqrt(
            self.obs_rms.var + self.epsilon)).astype(dtype)


class NormalizeReward(_Wrapper):
    """reward / sqrt(var + epsilon), variance of the discounted returns
    G = G · gamma · (1 - terminated) + reward of all workers that name the same
    `normalizer` (of one feature).
    """

    def __init__(self, env: Any, normalizer: Any, *,
                 client: Optional[Client] = None, gamma: float = 0.99,
                 epsilon: float = 1e-8,
                 prior_count: float = PRIOR_COUNT) -> None:
        super().__init__(env)
        self.gamma = gamma
        self.epsilon = epsilon
        self.update_running_mean = True
        self.discounted_reward = np.zeros(getattr(env, "num_envs", 1))
        self.return_rms = RunningMeanStd(
            _normalizer_of(normalizer, client, 1), (), prior_count)

    def reset(self, **options: Any) -> Any:
        return self.env.reset(**options)

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = \
            self.env.step(action)
        self.discounted_reward = (
            self.discounted_reward * self.gamma *
            (1 - np.asarray(terminated, np.float64)) + reward)
        return (observation, self.normalize(reward), terminated, truncated,
                info)

    def normalize(self, reward: Any) -> Any:
        if self.update_running_mean:
            self.return_rms.update(self.discounted_reward)
        return reward / np.sqrt(self.return_rms.var + self.epsilon)
