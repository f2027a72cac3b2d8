"""Images of many requests, answered together: a model takes little longer for several than for one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from transferflow.inference.sources import Failure
from transferflow.tasks.answers import Prediction

Answer = Prediction | Failure
Done = TypeVar("Done")
AnswerAll = Callable[[Sequence[bytes]], Sequence[Answer]]
"""Contents of image files to answers, in their order."""


class BusyError(Exception):
    """More images wait than may."""


@dataclass(frozen=True)
class BatchSettings:
    """How images are put together.

    Attributes:
        images: Most images that are answered at once.
        wait_ms: How long the first one waits for others, in milliseconds.
        queue: Most images that may wait.
    """

    images: int = 32
    wait_ms: float = 2.0
    queue: int = 512


@dataclass(frozen=True)
class _Waiting:
    image: bytes
    answer: asyncio.Future[Answer]


class MicroBatcher:
    """Collects images and has them answered by one thread, a batch at a time.

    Args:
        answer: Answers a batch; called in a thread of its own.
        settings: How images are put together.
    """

    def __init__(self, answer: AnswerAll, settings: BatchSettings) -> None:
        self._answer = answer
        self._settings = settings
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predict")

    @property
    def waiting(self) -> int:
        """Images that wait for their batch."""
        return self._queue.qsize()

    async def submit(self, images: Sequence[bytes]) -> list[Answer]:
        """Answers of these images, in their order.

        Raises:
            BusyError: If more would wait than may.
        """
        if self._queue.qsize() + len(images) > self._settings.queue:
            raise BusyError
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(image, loop.create_future()) for image in images]
        for one in waiting:
            self._queue.put_nowait(one)
        return list(await asyncio.gather(*(one.answer for one in waiting)))

    async def between(self, work: Callable[[], Done]) -> Done:
        """Do something else with the model, in the same thread: between two batches.

        Raises:
            BusyError: If as many images wait as may.
        """
        if self._queue.qsize() >= self._settings.queue:
            raise BusyError
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def run(self) -> None:
        """Answer batch after batch, until it is cancelled."""
        try:
            while True:
                await self._answer_batch(await self._collect())
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def _collect(self) -> list[_Waiting]:
        batch = [await self._queue.get()]
        loop = asyncio.get_running_loop()
        end = loop.time() + self._settings.wait_ms / 1000
        while len(batch) < self._settings.images:
            try:
                batch.append(await asyncio.wait_for(self._queue.get(), max(0.0, end - loop.time())))
            except TimeoutError:
                break
        return batch

    async def _answer_batch(self, batch: Sequence[_Waiting]) -> None:
        wanted = [one for one in batch if not one.answer.done()]  # who gave up needs no answer
        if not wanted:
            return
        loop = asyncio.get_running_loop()
        try:
            images = [one.image for one in wanted]
            answers = await loop.run_in_executor(self._thread, self._answer, images)
        except Exception as error:  # every request gets it, and the next batch is answered all the same
            for one in wanted:
                if not one.answer.done():
                    one.answer.set_exception(error)
            return
        for one, answer in zip(wanted, answers, strict=True):
            if not one.answer.done():
                one.answer.set_result(answer)
