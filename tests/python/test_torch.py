"""streamnorm.torch through a real server, beside formulas in float64."""

import copy
import io
import math
import multiprocessing
import pathlib
import pickle
import re

import numpy as np
import pytest
import streamnorm
import streamnorm.torch as sn
import torch
from python_client import fresh_name
from torch import nn

FEATURES = 5
LAYERS = {"1d": (sn.StreamNorm1d, ()), "length": (sn.StreamNorm1d, (3,)),
          "2d": (sn.StreamNorm2d, (3, 2))}


@pytest.fixture
def shared(join, shared_server):
    return join(shared_server)


def layer_of(client, features=FEATURES, kind=sn.StreamNorm1d, **options):
    return kind(features, name=fresh_name(), client=client, **options)


def batch_of(seed, rows, positions=(), dtype=torch.float32):
    rng = np.random.default_rng(seed)
    shape = (FEATURES, *[1] * len(positions))
    place = np.array([0, 3, -50, 1, 1e3]).reshape(shape)
    spread = np.array([1, 2, 9, 0.1, 30]).reshape(shape)
    x = rng.normal(size=(rows, FEATURES, *positions)) * spread + place
    return torch.tensor(x, dtype=dtype)


class Rule:
    """The layer's rule, written from its definition: float64, one weight per
    row, sums over all that came before."""

    def __init__(self, window=1000, grad_window=100, clip=5.0, eps=1e-5):
        self.window, self.grad_window = window, grad_window
        self.clip, self.eps = clip, eps
        self.batches, self.averages = [], []

    @staticmethod
    def weights(rows, window):
        """Of batches of so many rows, oldest first; they sum up to 1 - (1 -
        1 / window)^all."""
        after = np.cumsum([0, *rows[::-1]])[:-1][::-1]
        keep = 1 - 1 / window
        return keep ** after * (1 - keep ** np.array(rows))

    def statistics(self):
        rows = [len(x) for x in self.batches]
        if self.window is None:
            weights = np.array(rows, np.float64)
        else:
            weights = self.weights(rows, self.window)
        weights /= weights.sum()
        means = np.array([by_feature(x).mean(1) for x in self.batches])
        squares = np.array([(by_feature(x) ** 2).mean(1)
                            for x in self.batches])
        mean = weights @ means
        centred = np.array([((by_feature(x) - mean[:, None]) ** 2).mean(1)
                            for x in self.batches])
        assert squares.shape == centred.shape
        return mean, weights @ centred

    def forward(self, x):
        x = np.asarray(x, np.float64)
        first = not self.batches
        if first:
            self.batches.append(x)
        mean, variance = self.statistics()
        if not first:
            self.batches.append(x)
        shape = (1, -1, *[1] * (x.ndim - 2))
        self.std = np.sqrt(variance + self.eps).reshape(shape)
        self.raw = (x - mean.reshape(shape)) / self.std
        self.y = np.clip(self.raw, -self.clip, self.clip)
        return self.y

    def backward(self, g):
        g = np.where(np.abs(self.raw) < self.clip, g, 0.0)
        y = self.y
        self.averages.append((len(y), [by_feature(v).mean(1) for v in
                                       (g, g * y, y, y * y)]))
        weights = self.weights([n for n, _ in self.averages],
                               self.grad_window)
        e_g, e_gy, e_y, e_yy = np.tensordot(
            weights, np.array([a for _, a in self.averages]), 1)
        b = (e_gy - e_g * e_y) / np.maximum(e_yy - e_y ** 2, 0.1)
        shape = (1, -1, *[1] * (g.ndim - 2))
        e_g, e_y, b = (v.reshape(shape) for v in (e_g, e_y, b))
        return (g - e_g - (y - e_y) * b) / self.std


def by_feature(x):
    return np.moveaxis(np.asarray(x, np.float64), 1, 0).reshape(x.shape[1],
                                                                -1)


def close(got, want, tolerance):
    scale = np.abs(want).max()
    np.testing.assert_allclose(got.detach().numpy(), want, rtol=tolerance,
                               atol=tolerance * scale)


@pytest.mark.parametrize("where", ["small", "compiled"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", LAYERS)
def test_forward_and_backward_are_the_formulas(shared, form, dtype, where,
                                               monkeypatch):
    if where == "compiled":
        monkeypatch.setattr("streamnorm.torch._small.MOST_VALUES", 0)
    kind, positions = LAYERS[form]
    layer = layer_of(shared, kind=kind, affine=False, dtype=dtype)
    rule = Rule()
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9
    for step, rows in enumerate([4, 2, 4, 1, 7, 4, 4, 2] * 3):
        x = batch_of(step, rows, positions, dtype).requires_grad_()
        if step == 9:
            x.data[0] += 500  # far outside: limited
        y = layer(x)
        close(y, rule.forward(x.detach().numpy()), tolerance)
        g = torch.tensor(np.random.default_rng(100 + step).normal(
            0.3, 2, x.shape), dtype=dtype)
        y.backward(g)
        close(x.grad, rule.backward(g.numpy()), tolerance)
    layer.sync()
    mean, variance = rule.statistics()
    np.testing.assert_allclose(layer.running_mean, mean, rtol=tolerance)
    np.testing.assert_allclose(layer.running_var, variance, rtol=tolerance)


@pytest.mark.parametrize("where", ["small", "compiled"])
def test_weight_and_bias_learn(shared, where, monkeypatch):
    if where == "compiled":
        monkeypatch.setattr("streamnorm.torch._small.MOST_VALUES", 0)
    layer, rule = layer_of(shared), Rule()
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(0.5, 2, FEATURES))
        layer.bias.copy_(torch.linspace(-1, 1, FEATURES))
    for step in range(5):
        x = batch_of(step, 4).requires_grad_()
        out = layer(x)
        y = rule.forward(x.detach().numpy())
        weight = layer.weight.detach().double().numpy()
        close(out, y * weight + layer.bias.detach().numpy(), 1e-4)
        layer.zero_grad()
        g = torch.randn(x.shape)
        out.backward(g)
        close(layer.weight.grad, (g.numpy() * y).sum(0), 1e-4)
        close(layer.bias.grad, g.numpy().sum(0), 1e-4)
        close(x.grad, rule.backward(g.numpy() * weight), 1e-4)


def test_statistics_as_constants(shared):
    layer = layer_of(shared, affine=False, backward="constant", clip=None)
    rule = Rule(clip=math.inf)
    for step in range(4):
        x = batch_of(step, 4).requires_grad_()
        y = layer(x)
        close(y, rule.forward(x.detach().numpy()), 1e-4)
        y.sum().backward()
        close(x.grad, np.broadcast_to(1 / rule.std, x.shape), 1e-4)
    with pytest.raises(streamnorm.NotFound):
        shared.normalizer(layer.name + ".grad")


@pytest.mark.parametrize("exchange", ["sync", "async"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_service_counts_ragged_batches_exactly(shared, exchange, dtype):
    layer = layer_of(shared, window=None, exchange=exchange, dtype=dtype)
    batches = [batch_of(step, 1 + step * 7 % 13, dtype=dtype)
               for step in range(60)]
    for x in batches:
        layer(x)
    sn.sync(layer)
    rows = torch.cat(batches).double().numpy()
    found = shared.normalizer(layer.name).statistics()
    assert found.row_count == len(rows)
    error = np.abs(found.mean - rows.mean(0)) / rows.std(0)
    assert error.max() < (1e-4 if dtype == torch.float32 else 1e-10)
    np.testing.assert_allclose(
        found.variance, rows.var(0),
        rtol=1e-3 if dtype == torch.float32 else 1e-10)


# Steps that travel together are one batch to a window.
@pytest.mark.parametrize("window,tolerance", [(None, 1e-9), (1000, 0.02)])
def test_own_rows_count_at_once_while_the_exchange_is_under_way(
        shared, window, tolerance):
    layer = layer_of(shared, affine=False, exchange="async", clip=None,
                     window=window, dtype=torch.float64, backward="constant")
    rule = Rule(clip=math.inf, window=window)
    for step in range(100):
        x = batch_of(step, 4, dtype=torch.float64)
        close(layer(x), rule.forward(x.numpy()), tolerance)


def test_own_rows_weigh_as_those_of_all_workers(shared):
    layer = layer_of(shared, affine=False, exchange="async", workers=8,
                     window=None, dtype=torch.float64, clip=None)
    first, second = batch_of(1, 4, dtype=torch.float64), batch_of(
        2, 4, dtype=torch.float64)
    layer(first)
    layer(second)
    y = layer(first)
    both = torch.cat([first, second])
    close(y, ((first - both.mean(0)) / torch.sqrt(
        both.var(0, unbiased=False) + 1e-5)).numpy(), 1e-9)
    sn.sync(layer)
    assert shared.normalizer(layer.name).n_samples_seen_ == 12


def test_evaluation_never_writes(shared):
    layer = layer_of(shared)
    for step in range(3):
        layer(batch_of(step, 4)).sum().backward()
    layer.eval()
    normalizer = shared.normalizer(layer.name)
    before = normalizer.statistics()
    assert before.row_count == 12
    x = batch_of(9, 4)
    y = layer(x)
    close(y, (x.numpy() - before.mean) / np.sqrt(before.variance + 1e-5),
          1e-4)
    sn.sync(layer)
    after = normalizer.statistics()
    assert (after.revision, after.row_count) == (before.revision, 12)


def test_an_evaluator_sees_what_others_train(shared, join, shared_server):
    trainer = layer_of(shared)
    evaluator = sn.StreamNorm1d(FEATURES, name=trainer.name,
                                client=join(shared_server)).eval()
    for step in range(3):
        trainer(batch_of(step, 4))
    sn.sync(trainer)
    x = batch_of(9, 4)
    first = evaluator(x)
    torch.testing.assert_close(first, trainer.eval()(x))
    trainer.train()
    trainer(batch_of(10, 4))
    sn.sync(trainer)
    torch.testing.assert_close(evaluator(x), first)  # until it asks
    sn.sync(evaluator)
    torch.testing.assert_close(evaluator(x), trainer.eval()(x))


def test_checkpoints_go_both_ways_with_batch_norm(shared):
    norm = nn.BatchNorm1d(FEATURES)
    for step in range(5):
        norm(batch_of(step, 16))
    norm.eval()
    layer = layer_of(shared, clip=None)
    layer.load_state_dict(norm.state_dict())
    x = batch_of(9, 4)
    torch.testing.assert_close(layer.eval()(x), norm(x))
    layer.train()
    # Its statistics serve until the server has some.
    torch.testing.assert_close(layer(x), norm(x))
    layer(batch_of(10, 4))
    state = layer.state_dict()
    assert list(state) == list(norm.state_dict())
    assert int(state["num_batches_tracked"]) == 7
    norm.load_state_dict(state)
    torch.testing.assert_close(layer.eval()(x), norm(x))
    saved = state._metadata[""]["streamnorm"]
    normalizer = shared.normalizer(layer.name)
    assert saved == {"normalizer": layer.name, "row_count": 8,
                     "revision": normalizer.statistics().revision}


def test_a_model_is_saved_and_copied(shared):
    model = sn.convert(nn.Sequential(nn.Linear(FEATURES, 4),
                                     nn.BatchNorm1d(4)), shared, fresh_name())
    x = batch_of(1, 4)
    model(x).sum().backward()
    model.eval()
    saved = io.BytesIO()
    torch.save(model, saved)
    saved.seek(0)
    for twin in (torch.load(saved), copy.deepcopy(model),
                 pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(twin(x), model(x))
        assert twin[1].name == model[1].name


def test_convert_keeps_weights_names_and_parameters(shared):
    model = nn.Sequential(
        nn.Linear(FEATURES, 4), nn.BatchNorm1d(4), nn.ReLU(),
        nn.ModuleDict({"Block": nn.Sequential(
            nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, affine=False))}))
    before = dict(model.named_parameters())
    prefix = fresh_name()
    converted = sn.convert(model, shared, prefix)
    assert converted is model
    assert {k: id(v) for k, v in model.named_parameters()} == {
        k: id(v) for k, v in before.items()}
    assert type(model[0]) is sn.CenteredLinear
    assert type(model[1]) is sn.StreamNorm1d
    assert model[1].name == f"{prefix}.1"
    block = model[3]["Block"]
    assert type(block[1]) is sn.StreamNorm2d
    assert block[1].name == f"{prefix}.3.block.1"


def test_a_centred_linear_has_weights_without_their_mean():
    layer = sn.CenteredLinear(7, 3)
    x = torch.randn(5, 7, requires_grad=True)
    weight = layer.weight - layer.weight.mean(1, keepdim=True)
    want = nn.functional.linear(x, weight, layer.bias)
    got = layer(x)
    torch.testing.assert_close(got, want)
    g = torch.randn(5, 3)
    wanted = torch.autograd.grad(want, [x, layer.weight], g)
    torch.testing.assert_close(
        torch.autograd.grad(got, [x, layer.weight], g), wanted)


def test_priming_counts_and_trains_nothing(shared):
    model = sn.convert(nn.Sequential(nn.BatchNorm1d(FEATURES),
                                     nn.Linear(FEATURES, 4),
                                     nn.BatchNorm1d(4)), shared, fresh_name())
    before = copy.deepcopy(dict(model.named_parameters()))
    sn.prime(model, [batch_of(step, 4) for step in range(16)])
    assert model.training
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
    for layer in (model[0], model[2]):
        assert shared.normalizer(layer.name).n_samples_seen_ == 64


def test_layers_of_one_client_share_a_round_trip(shared, monkeypatch):
    model = sn.convert(nn.Sequential(*[m for _ in range(3) for m in (
        nn.Linear(FEATURES, FEATURES), nn.BatchNorm1d(FEATURES))]),
        shared, fresh_name())
    for step in range(2):  # the first one finds the normalizers
        model(batch_of(step, 4)).sum().backward()
    runs = []
    monkeypatch.setattr(streamnorm.Exchange, "run", lambda self, run=(
        streamnorm.Exchange.run): (runs.append(len(self)), run(self)))
    for step in range(3):
        model(batch_of(step, 4)).sum().backward()
    # Moments and gradients of three layers.
    assert runs == [6, 6, 6]


def test_autocast_and_other_types(shared):
    for dtype in (torch.bfloat16, torch.float16):
        layer = layer_of(shared)
        x = batch_of(1, 4).to(dtype).requires_grad_()
        y = layer(x)
        assert y.dtype == dtype
        y.float().sum().backward()
        assert x.grad.dtype == dtype
        assert layer.eval()(x).dtype == dtype
    model = sn.convert(nn.Sequential(nn.Linear(FEATURES, 4),
                                     nn.BatchNorm1d(4)), shared, fresh_name())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(batch_of(1, 4))
    out.float().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_bad_input_is_refused_and_counts_nothing(shared):
    layer = layer_of(shared)
    with pytest.raises(streamnorm.ShapeMismatch, match=r"\[4, 3\], want \["):
        layer(torch.zeros(4, 3))
    with pytest.raises(streamnorm.ShapeMismatch, match="want"):
        layer(torch.zeros(FEATURES))
    with pytest.raises(streamnorm.InvalidArgument, match="floating"):
        layer(torch.zeros(4, FEATURES, dtype=torch.int64))
    with pytest.raises(streamnorm.InvalidArgument, match="exchange: 'late'"):
        layer_of(shared, exchange="late")
    layer(batch_of(1, 4))
    other = sn.StreamNorm1d(FEATURES, name=layer.name, client=shared,
                            window=50)
    with pytest.raises(streamnorm.SchemaMismatch, match="window"):
        other(batch_of(1, 4))
    bad = batch_of(1, 4)
    bad[0, 0] = math.nan
    layer(bad)
    with pytest.raises(streamnorm.InvalidArgument, match="finite|NaN|nan"):
        sn.sync(layer)


def train_in_a_process(address, name, steps):
    client = streamnorm.connect(address)
    layer = sn.StreamNorm1d(FEATURES, name=name, client=client)
    for step in range(steps):
        layer(batch_of(step, 4)).sum().backward()
    sn.sync(layer)
    client.close()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_share_a_normalizer(shared, shared_server, method):
    name = fresh_name()
    context = multiprocessing.get_context(method)
    children = [context.Process(target=train_in_a_process,
                                args=(shared_server.address, name, 25),
                                daemon=True)
                for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert shared.normalizer(name).n_samples_seen_ == 300
    assert shared.normalizer(name + ".grad").n_samples_seen_ == 300


@pytest.mark.parametrize("exchange", ["sync", "async"])
def test_a_killed_server_costs_no_row(start, join, exchange):
    server = start()
    client = join(server)
    layer = layer_of(client, exchange=exchange, window=None,
                     dtype=torch.float64)
    batches = [batch_of(step, 4, dtype=torch.float64) for step in range(80)]
    for step, x in enumerate(batches):
        layer(x).sum().backward()
        if step in (20, 50):
            server.kill()
            server.launch()
    sn.sync(layer)
    rows = torch.cat(batches).numpy()
    found = client.normalizer(layer.name).statistics()
    assert found.row_count == len(rows)
    np.testing.assert_allclose(found.mean, rows.mean(0), rtol=1e-10)


def test_an_error_in_the_background_is_raised(shared):
    layer = layer_of(shared, exchange="async")
    layer(batch_of(0, 4))
    sn.sync(layer)
    shared.normalizer(layer.name).delete()
    with pytest.raises(streamnorm.Error):
        for step in range(50):
            layer(batch_of(step, 4))
        sn.sync(layer)


def test_an_unnamed_layer_is_its_own(shared):
    first, second = (sn.StreamNorm1d(FEATURES, client=shared)
                     for _ in range(2))
    assert first.name != second.name
    first(batch_of(1, 4))
    sn.sync(first)
    assert shared.normalizer(first.name).n_samples_seen_ == 4


def test_what_a_parent_counted_a_forked_child_does_not_send(shared):
    layer = layer_of(shared)
    layer(batch_of(1, 4)).sum().backward()  # not sent yet

    def child():
        layer(batch_of(2, 2)).sum().backward()
        sn.sync(layer)

    process = multiprocessing.get_context("fork").Process(
        target=child, daemon=True)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    layer(batch_of(3, 4))
    sn.sync(layer)
    assert shared.normalizer(layer.name).n_samples_seen_ == 10


def test_a_refused_batch_is_not_sent_again(shared):
    good, bad = layer_of(shared), layer_of(shared)
    for step in range(2):
        bad(good(batch_of(step, 4)))
    sn.sync(good)
    good(batch_of(5, 4))
    x = batch_of(6, 4)
    x[1, 2] = math.inf
    bad(x)
    with pytest.raises(streamnorm.Error):
        sn.sync(bad)
    for layer in (good, bad):
        sn.sync(layer)
    assert shared.normalizer(good.name).n_samples_seen_ == 12
    assert shared.normalizer(bad.name).n_samples_seen_ == 8


def test_the_manual_says_what_works(shared_server, capsys):
    manual = pathlib.Path(__file__).parents[2] / "docs" / "torch.md"
    block = re.search(r"```python\n(.*?)```", manual.read_text(), re.S)[1]
    code = block.replace("127.0.0.1:50051", shared_server.address)
    assert code != block
    exec(code, {})
    assert capsys.readouterr().out == "torch.Size([64, 10])\n"
