"""One event loop in a thread of its own, for all that waits for guards and upstreams."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
# A task that ignores its cancellation must not keep the server from stopping.
_STOP_SECONDS = 5


class BackgroundLoop:
    """Runs coroutines for callers in any thread.

    The Pipelines server calls `pipe` in threads, and anything that blocks its own loop blocks everybody.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="qwen3guard", daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start `work`; the future may be waited for in any thread, and cancels it when cancelled.

        Raises:
            RuntimeError: the loop was stopped.
        """
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:
            work.close()
            raise

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait in another loop for `work`."""
        return await asyncio.wrap_future(self.submit(work))

    def stop(self) -> None:
        """Cancel what runs, wait for its last words, and end the thread."""
        if self._loop.is_closed():
            return
        self.submit(_cancel_all()).result(_STOP_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_STOP_SECONDS / 2)
    await asyncio.get_running_loop().shutdown_asyncgens()
    await asyncio.get_running_loop().shutdown_default_executor()
