"""streamnorm.aio: the same client, awaited."""

import asyncio

import numpy as np
import pytest
import streamnorm
import streamnorm.aio
from python_client import (assert_exactly, draw, fresh_name, moments,
                           standardized)


@pytest.fixture
def run(shared_server, transport):
    """run(scenario) with a client of the shared server."""
    async def with_client(scenario):
        async with await streamnorm.aio.connect(
                shared_server.address, transport=transport) as client:
            await scenario(client)

    return lambda scenario: asyncio.run(with_client(scenario))


def test_rows_count_in_the_order_of_the_calls(run):
    async def scenario(client):
        n = await client.normalizer(fresh_name(), 3)
        batches = [draw(4, i, "<f8") for i in range(20)]
        results = await asyncio.gather(*map(n, batches))
        seen = np.empty((0, 3))
        for x, z in zip(batches, results):
            seen = np.concatenate([seen, x])
            np.testing.assert_allclose(z, standardized(x, seen), atol=1e-9)
        assert_exactly(n.sync, seen)
        z = await n.transform(batches[0])
        np.testing.assert_allclose(await n.inverse_transform(z), batches[0])
        assert len(await n.barrier()) > 16

    run(scenario)


def test_merges_resets_and_iteration_work(run):
    async def scenario(client):
        n = await client.normalizer(fresh_name(), 3)
        x = draw(30, 1, "<f8")
        await n.merge(*moments(x))
        found, = await client.exchange([(n, *moments(x))])
        assert found.answer.row_count == 60
        await n.reset()
        results = [z async for z in n.normalize_iter([x[:2]] * 40, ahead=8)]
        assert len(results) == 40
        assert (await n.statistics()).row_count == 80
        await n.partial_fit(x)
        assert (await n.normalize(x))[1].row_count == 140

    run(scenario)


def test_what_is_frozen_in_a_task_is_frozen_there_alone(run):
    async def scenario(client):
        n = await client.normalizer(fresh_name(), 3)
        x = draw(10, 1)
        await n(x)

        async def evaluate():
            with n.frozen():
                await n(x)
                with pytest.raises(streamnorm.Frozen):
                    await n.partial_fit(x)

        await asyncio.gather(evaluate(), n(x), evaluate())
        assert (await n.statistics()).row_count == 20

    run(scenario)


def test_the_loop_goes_on_while_a_call_waits(run):
    async def scenario(client):
        n = await client.normalizer(fresh_name(), 512)
        ticks, done = 0, asyncio.Event()

        async def tick():
            nonlocal ticks
            while not done.is_set():
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        await n(np.ones((20_000, 512), np.float32))
        done.set()
        await ticking
        assert ticks > 10
        with pytest.raises(streamnorm.ShapeMismatch):
            await n(draw(1))

    run(scenario)


def test_no_server_is_an_error_in_time(folder):
    with pytest.raises(streamnorm.Unavailable):
        asyncio.run(streamnorm.aio.connect(f"unix:{folder}/nobody",
                                           timeout=0.2))
