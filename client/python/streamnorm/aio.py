"""The client for asyncio.

    client = await streamnorm.aio.connect("localhost:50051")
    n = await client.normalizer("layer3", features=32)
    z = await n(x)

Calls are those of streamnorm.Client and Normalizer, each to be awaited; they
run in one thread of the client's own, in the order in which they were made,
which is what the one session would make of them anyway. The event loop is
never blocked; each call costs two thread hops (some 50 us) more than without
asyncio. Cancelling a call that has begun doesn't end it: its rows count.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any, AsyncIterator, Callable, Iterable, Optional

from . import _client, _normalizer


class _Caller:
    """One thread, made when it is needed."""

    def __init__(self) -> None:
        self._executor: Optional[ThreadPoolExecutor] = None

    async def __call__(self, function: Callable[..., Any], *args: Any,
                       **kwargs: Any) -> Any:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, "streamnorm-aio")
        # What is frozen in this task is so in that thread.
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, functools.partial(context.run, function, *args,
                                              **kwargs))

    def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=False)


async def connect(address: Optional[str] = None,
                  **options: Any) -> "Client":
    """`streamnorm.connect`."""
    caller = _Caller()
    try:
        return Client(await caller(_client.connect, address, **options),
                      caller)
    except BaseException:
        caller.close()
        raise


class Client:
    """Made by `connect`; `sync` is the client that does the work."""

    def __init__(self, sync: _client.Client, caller: _Caller) -> None:
        self.sync = sync
        self._call = caller

    async def normalizer(self, name: str, features: Optional[int] = None,
                         preset: Optional[str] = None,
                         **settings: Any) -> "Normalizer":
        return Normalizer(await self._call(
            self.sync.normalizer, name, features, preset, **settings),
            self._call)

    async def exchange(self, merges: Iterable[Any], *,
                       before: bool = False) -> Any:
        plain = [(n.sync if isinstance(n, Normalizer) else n, *rest)
                 for n, *rest in merges]
        return await self._call(self.sync.exchange, plain, before=before)

    async def barrier(self) -> bytes:
        return await self._call(self.sync.barrier)

    async def server_info(self) -> Any:
        return await self._call(self.sync.server_info)

    async def close(self) -> None:
        try:
            await self._call(self.sync.close)
        finally:
            self._call.close()

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *error: Any) -> None:
        try:
            await self._call(self.sync.__exit__, *error)
        finally:
            self._call.close()


class Normalizer:
    """Made by `Client.normalizer`; `sync` does the work."""

    def __init__(self, sync: _normalizer.Normalizer, caller: _Caller) -> None:
        self.sync = sync
        self.name = sync.name
        self.features = sync.features
        self.feature_names = sync.feature_names
        self.frozen = sync.frozen  # with, in the task that evaluates
        self._call = caller

    async def __call__(self, x: Any, mode: Any = None) -> Any:
        return await self._call(self.sync, x, mode)

    async def normalize(self, x: Any, mode: Any = None) -> Any:
        return await self._call(self.sync.normalize, x, mode)

    async def partial_fit(self, x: Any) -> "Normalizer":
        await self._call(self.sync.partial_fit, x)
        return self

    async def transform(self, x: Any) -> Any:
        return await self._call(self.sync.transform, x)

    async def inverse_transform(self, z: Any) -> Any:
        return await self._call(self.sync.inverse_transform, z)

    async def merge(self, count: int, mean: Any, m2: Any,
                    **options: Any) -> Any:
        return await self._call(self.sync.merge, count, mean, m2, **options)

    async def statistics(self) -> Any:
        return await self._call(self.sync.statistics)

    async def barrier(self) -> bytes:
        return await self._call(self.sync.barrier)

    async def freeze(self) -> None:
        await self._call(self.sync.freeze)

    async def unfreeze(self) -> None:
        await self._call(self.sync.unfreeze)

    async def reset(self) -> None:
        await self._call(self.sync.reset)

    async def delete(self) -> None:
        await self._call(self.sync.delete)

    async def snapshot(self, name: str) -> "Normalizer":
        """A Snapshot is read as a normalizer is."""
        return Normalizer(await self._call(self.sync.snapshot, name),
                          self._call)

    async def at(self, name: str) -> "Normalizer":
        return Normalizer(await self._call(self.sync.at, name), self._call)

    async def snapshots(self) -> Any:
        return [Normalizer(found, self._call)
                for found in await self._call(self.sync.snapshots)]

    async def delete_snapshot(self, name: str) -> None:
        await self._call(self.sync.delete_snapshot, name)

    async def normalize_iter(self, batches: Any, *, ahead: int = 32,
                             mode: Any = None,
                             field: Any = None) -> AsyncIterator[Any]:
        """Of an iterable, which is read in the client's thread."""
        end = object()
        results = self.sync.normalize_iter(batches, ahead=ahead, mode=mode,
                                           field=field)
        try:
            while True:
                result = await self._call(next, results, end)
                if result is end:
                    return
                yield result
        finally:
            await self._call(results.close)  # type: ignore[attr-defined]
