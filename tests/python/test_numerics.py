"""The numbers, against NumPy, scikit-learn and failures of other projects."""

import numpy as np
import pytest
from api import (FP32, FP64, FeatureStatistics, Scaling, array,
                 assert_statistics, normalize_request, oracle, pb, rounded)
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, StandardScaler


def cut(rng, rows, most=40):
    """Batches of random sizes."""
    while len(rows):
        n = rng.integers(1, most + 1)
        yield rows[:n]
        rows = rows[n:]


# Side by side with scikit-learn.

@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_standard_scaler_of_the_same_batches(client, scale, seed):
    rng = np.random.default_rng([seed, int(scale * 1000)])
    features = rng.integers(1, 20)
    rows = rng.normal(rng.normal(0, 5, features), rng.uniform(0.1, 3),
                      (600, features)) * scale
    name, scaler = client.create(int(features)).name, StandardScaler()
    for batch in cut(rng, rows):
        scaler.partial_fit(batch)
        output = client.normalized(name, batch)
        if scaler.n_samples_seen_ < 2:
            continue  # warm-up
        columns = client.columns(name)
        spread = np.maximum(np.sqrt(scaler.var_), np.abs(scaler.mean_))
        assert np.all(np.abs(columns["mean"] - scaler.mean_)
                      <= 1e-12 * spread)
        np.testing.assert_allclose(columns["variance"], scaler.var_,
                                   rtol=1e-12)
        np.testing.assert_allclose(1 / columns["scale"], scaler.scale_,
                                   rtol=1e-12)
        np.testing.assert_allclose(output, scaler.transform(batch),
                                   rtol=1e-12, atol=1e-12)
    back = array(client.denormalize(name, client.look(name, rows)).output)
    np.testing.assert_allclose(back, rows, rtol=1e-12, atol=1e-12 * scale)
    assert_statistics(client.columns(name), rows)


@pytest.mark.parametrize("preset, scaler", [
    ("minmax", MinMaxScaler), ("maxabs", MaxAbsScaler)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_min_max_and_max_abs_scaler_of_the_same_batches(
        client, preset, scaler, scale):
    rng = np.random.default_rng(int(scale * 1000))
    rows = rng.normal([0, 3, -9], [1, 2, 3], (300, 3)) * scale
    name = client.create(3, scaling=Scaling(preset=preset)).name
    fitted = scaler()
    for batch in cut(rng, rows):
        fitted.partial_fit(batch)
        output = client.normalized(name, batch)
        if fitted.n_samples_seen_ >= 2:
            np.testing.assert_allclose(output, fitted.transform(batch),
                                       rtol=1e-12, atol=1e-15)


# Presets and rules.

PRESETS = {
    "standard": lambda x, m, v: (x - m) / np.sqrt(v),
    "batchnorm": lambda x, m, v: (x - m) / np.sqrt(v + 1e-5),
    "vecnormalize": lambda x, m, v: np.clip(
        (x - m) / np.sqrt(v + 1e-8), -10, 10),
    "rsl_rl": lambda x, m, v: (x - m) / (np.sqrt(v) + 1e-2),
    "keras": lambda x, m, v: (x - m) / np.maximum(np.sqrt(v), 1e-7),
    "lerobot": lambda x, m, v: (x - m) / (np.sqrt(v) + 1e-8),
}
PAST = np.random.default_rng(17).normal(
    [0, 5, -1e3, 1e-9], [1, 1e-3, 50, 1e-8], (100, 4))
NEW = np.random.default_rng(18).normal(
    [0, 5, -1e3, 1e-9], [9, 1e-1, 500, 1e-7], (30, 4))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_its_librarys_formula(client, preset):
    name = client.create(4, scaling=Scaling(preset=preset)).name
    client.count(name, PAST)
    mean, variance = oracle(PAST)
    want = PRESETS[preset](NEW, mean, variance)
    answer = client.normalize(name, NEW, mode=pb.NORMALIZE_ONLY)
    np.testing.assert_allclose(client.look(name, NEW), want, rtol=1e-11)
    assert answer.clipped_values == (
        np.sum(np.abs(want) == 10) if preset == "vecnormalize" else 0)


@pytest.mark.parametrize("mode, formula", [
    (Scaling.NONE, lambda s, e: s),
    (Scaling.INSIDE_SQRT, lambda s, e: np.sqrt(s * s + e)),
    (Scaling.ADD_TO_STD, lambda s, e: s + e),
    (Scaling.FLOOR_STD, lambda s, e: np.maximum(s, e))])
def test_an_epsilon_mode_is_its_formula(client, mode, formula):
    name = client.create(4, scaling=Scaling(epsilon_mode=mode,
                                            epsilon=0.25)).name
    client.count(name, PAST)
    mean, variance = oracle(PAST)
    np.testing.assert_allclose(
        client.look(name, NEW),
        (NEW - mean) / formula(np.sqrt(variance), 0.25), rtol=1e-11)


def test_fields_that_are_set_win_over_the_presets(client):
    name = client.create(4, scaling=Scaling(
        preset="vecnormalize", epsilon=0.5, clip=0)).name
    client.count(name, PAST)
    mean, variance = oracle(PAST)
    np.testing.assert_allclose(client.look(name, NEW),
                               (NEW - mean) / np.sqrt(variance + 0.5),
                               rtol=1e-11)


@pytest.mark.parametrize("center, scale", [(False, True), (True, False),
                                           (False, False)])
def test_centring_and_scaling_can_be_left_out(client, center, scale):
    name = client.create(4, scaling=Scaling(center=center, scale=scale)).name
    client.count(name, PAST)
    mean, variance = oracle(PAST)
    want = (NEW - (mean if center else 0)) / (
        np.sqrt(variance) if scale else 1)
    np.testing.assert_allclose(client.look(name, NEW), want, rtol=1e-11)


@pytest.mark.parametrize("preset", [*PRESETS, "minmax", "maxabs"])
def test_a_constant_feature_is_divided_by_nothing_small(client, preset):
    name = client.create(3, scaling=Scaling(preset=preset)).name
    client.count(name, [[5.0, 0.0, 1.0], [5.0, 0.0, 2.0], [5.0, 0.0, 4.0]])
    columns = client.columns(name)
    assert columns["scale"][0] == (0.2 if preset == "maxabs" else 1)
    assert columns["scale"][1] == 1
    F = FeatureStatistics
    assert list(columns["state"]) == [F.CONSTANT, F.CONSTANT, F.OK]


def test_offset_and_scale_are_the_forward_rule(client):
    for preset in [*PRESETS, "minmax", "maxabs"]:
        name = client.create(4, scaling=Scaling(preset=preset, clip=0)).name
        client.count(name, PAST)
        columns = client.columns(name)
        np.testing.assert_allclose(
            (NEW - columns["offset"]) * columns["scale"],
            client.look(name, NEW), rtol=1e-11)


# Order, batching and merging do not matter.

def test_the_statistics_do_not_depend_on_how_the_rows_were_batched(client):
    rng = np.random.default_rng(23)
    rows = rng.normal([1e6, 3], [1, 1e-2], (2000, 2))
    for seed in range(4):
        shuffled = rng.permutation(rows)
        name = client.create(2).name
        for batch in cut(np.random.default_rng(seed), shuffled, 300):
            client.count(name, batch)
        assert_statistics(client.columns(name), rows)


def test_one_row_at_a_time_is_as_good_as_all_at_once(client):
    rows = np.random.default_rng(29).normal([1e5, 0], [1, 1e-3], (500, 2))
    slowly, at_once = client.create(2).name, client.create(2).name
    stream = (normalize_request(slowly, row, mode=pb.UPDATE_ONLY)
              for row in rows)
    assert sum(a.counted_rows for a in client.stream(stream)) == 500
    client.count(at_once, rows)
    for name in (slowly, at_once):
        assert_statistics(client.columns(name), rows)


# Failures of other projects.

def test_three_numbers_near_ten_thousand_in_fp32(client):
    # lerobot#4704.
    name = client.create(1).name
    client.count(name, [[10000.0], [10001.0], [10002.0]], FP32)
    assert client.columns(name)["standard_deviation"][0] == pytest.approx(
        np.sqrt(2 / 3), rel=1e-15)


@pytest.mark.parametrize("datatype", [FP32, FP64])
def test_a_thousand_times_the_same_number_is_constant(client, datatype):
    # scikit-learn#17794.
    rows = rounded(np.full((1000, 1), 14.62), datatype)
    name = client.create(1).name
    for batch in cut(np.random.default_rng(31), rows, 100):
        output = client.normalized(name, batch, datatype)
        assert np.all(np.abs(output) < 1e-11)
    columns = client.columns(name)
    assert list(columns["state"]) == [FeatureStatistics.CONSTANT]
    assert columns["scale"][0] == 1
    assert columns["mean"][0] == pytest.approx(rows[0, 0], rel=1e-15)


def test_a_nearly_constant_feature_does_not_explode(client):
    # keras#20011: 14.62 and its neighbours.
    step = np.spacing(14.62)
    rows = 14.62 + step * np.random.default_rng(37).integers(-1, 2, (500, 1))
    name = client.create(1).name
    assert np.all(np.abs(client.normalized(name, rows)) < 1e-10)
    assert abs(client.look(name, [[15.0]])[0, 0]) == pytest.approx(0.38)


@pytest.mark.parametrize("mean", [1e6, 1e8, 1e10])
def test_a_large_mean_does_not_eat_the_variance(client, mean):
    # Sums of squares answer -105 for the variance of 1e8 +- 1.
    rows = np.random.default_rng(41).normal(mean, 1, (4000, 2))
    name = client.create(2).name
    for batch in cut(np.random.default_rng(43), rows, 200):
        client.count(name, batch)
    assert_statistics(client.columns(name), rows)


def test_a_mean_of_a_million_in_fp32(client):
    # NaN, 0 and 39.5 elsewhere.
    rows = rounded(np.random.default_rng(47).normal(1e6, 1, (4000, 2)), FP32)
    name = client.create(2).name
    for batch in cut(np.random.default_rng(53), rows, 200):
        client.count(name, batch, FP32)
    assert_statistics(client.columns(name), rows)
    np.testing.assert_allclose(client.columns(name)["standard_deviation"],
                               [1, 1], rtol=0.05)


def test_no_hidden_prior_inflates_a_small_deviation(client):
    # A hidden count of 1e-4 at 0 reads a deviation of 500 here.
    rows = np.random.default_rng(59).normal(1e6, 1e-3, (400, 1))
    name = client.create(1).name
    for batch in cut(np.random.default_rng(61), rows):
        client.count(name, batch)
    assert_statistics(client.columns(name), rows, 1e-11)


def test_the_variance_between_batches_is_counted(client):
    # Averaging the variances of the batches reads 1.08, the truth is 10.05.
    rng = np.random.default_rng(67)
    batches = [rng.normal(mean, 1, (32, 1)) for mean in rng.normal(0, 10, 300)]
    name = client.create(1).name
    for batch in batches:
        client.count(name, batch)
    assert_statistics(client.columns(name), np.concatenate(batches))
    assert 8.5 < client.columns(name)["standard_deviation"][0] < 11.5


@pytest.mark.parametrize("power", [24, 31, 32, 40, 52])
def test_a_count_goes_on_beyond_any_float_or_int(client, power):
    big = 2 ** power
    name = client.create(1).name
    client.merge(name, big, [4.0], [big * 9.0])
    client.count(name, [[5.0]])
    assert client.get(name).row_count == big + 1
    assert list(client.columns(name)["count"]) == [big + 1]


def test_a_product_of_counts_does_not_overflow(client):
    big = 2 ** 40
    name = client.create(1).name
    client.merge(name, big, [0.0], [float(big)])
    client.merge(name, 3 * big, [4.0], [3.0 * big])
    columns = client.columns(name)
    assert columns["mean"][0] == 3 and columns["variance"][0] == 4
    assert columns["count"][0] == 4 * big


NUMACC = {
    1: ([10000001, 10000003, 10000002], 10000002, 1),
    2: ([1.2] + [1.1, 1.3] * 500, 1.2, 0.1),
    3: ([1000000.2] + [1000000.1, 1000000.3] * 500, 1000000.2, 0.1),
    4: ([10000000.2] + [10000000.1, 10000000.3] * 500, 10000000.2, 0.1),
}


@pytest.mark.parametrize("number", NUMACC)
def test_nist_numacc_reads_its_certified_values(client, number):
    data, mean, deviation = NUMACC[number]
    rows = np.array(data, dtype=float)[:, None]
    name = client.create(1).name
    for batch in cut(np.random.default_rng(number), rows, 100):
        client.count(name, batch)
    columns = client.columns(name)
    assert_statistics(columns, rows, 1e-13)
    # What the decimal numbers lose as doubles is not the server's.
    lost = np.spacing(mean) / deviation
    assert columns["mean"][0] == pytest.approx(mean, rel=1e-15)
    assert np.sqrt(columns["sample_variance"][0]) == pytest.approx(
        deviation, rel=1e-14 + lost)


# The two rows that the project began with: inputs of one layer.
SEED = np.array([
    [1477.7378, 2719.646, 1040.3798, 1215.5387, 3542.7241, 266.893, 5944.856,
     -2105.2986, 4023.8545, -932.9826, 1617.7998, 4028.0327, -2225.9929,
     -1581.6738, -3424.425, -1329.661, 5483.1172, 5975.4663, 4483.0156,
     -373.3383, 482.225, -557.7921, 1385.3356, 196.1219, -375.9175, 1787.6195,
     -3516.9705, -687.9647, 2663.0601, -576.0363, 86.2473, 5765.6387],
    [1744.0067, 3214.6289, 1228.2401, 1436.6631, 4191.439, 318.6791,
     7028.2715, -2485.291, 4753.7217, -1105.6101, 1920.9307, 4758.9941,
     -2634.7754, -1861.2491, -4049.8877, -1578.7089, 6478.585, 7065.4326,
     5293.2305, -442.4786, 566.5157, -658.579, 1643.0204, 237.8128, -450.6484,
     2104.6516, -4151.9263, -815.9917, 3144.3291, -675.0918, 94.2207,
     6817.9795]])


def test_two_rows_alone_are_plus_and_minus_one(client):
    name = client.create(32).name
    np.testing.assert_allclose(np.abs(client.normalized(name, SEED)), 1,
                               rtol=1e-12)


def test_a_past_keeps_apart_what_layer_normalization_makes_the_same(client):
    # Rows like the first, larger or smaller as a whole by 30 %.
    rng = np.random.default_rng(71)
    past = SEED[0] * rng.normal(1, 0.3, (400, 1))
    name = client.create(32).name
    for batch in cut(rng, past):
        client.count(name, batch, FP32)
    z = client.look(name, SEED, FP32)
    apart = np.mean(np.abs(z[1] - z[0]))
    layer = (SEED - SEED.mean(1, keepdims=True)) / SEED.std(1, keepdims=True)
    assert np.mean(np.abs(layer[1] - layer[0])) < 0.0015
    assert 0.5 < apart < 0.75
    mean, variance = oracle(rounded(past, FP32))
    np.testing.assert_allclose(
        z, (rounded(SEED, FP32) - mean) / np.sqrt(variance), rtol=1e-6)
