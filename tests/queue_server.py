"""A real HTTP server of known capacity: a queue with so many slots and known service times.

    python tests/queue_server.py SLOTS MEAN_S SIGMA SEED

First come, first served; service times are lognormal with that mean and that sigma of the
logarithm. Starts and ends follow from the arrivals by calculation, so that a late wake-up delays
one answer and never the queue behind it. Prints its port; serves until its input ends.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import sys

import numpy as np

FIRST = 0.3
"""Share of the service after which the first token comes."""


def service_times(mean_s: float, sigma: float, count: int, seed: int) -> list[float]:
    """Service times in seconds."""
    draws = np.random.default_rng(seed).standard_normal(count)
    return [float(v) for v in mean_s * np.exp(sigma * draws - sigma**2 / 2)]


def chunk(payload: str) -> bytes:
    data = f"data: {payload}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
TOKEN = chunk(json.dumps({"choices": [{"index": 0, "text": " word", "finish_reason": None}]}))


class Queue:
    def __init__(self, slots: int, mean_s: float, sigma: float, seed: int) -> None:
        self.free_at = [0.0] * slots
        self.services = service_times(mean_s, sigma, 400_000, seed)
        self.taken = 0

    def times(self, now: float) -> tuple[float, float]:
        """When the answer to a request of now begins and ends."""
        begin = max(now, heapq.heappop(self.free_at))
        service = self.services[self.taken % len(self.services)]
        self.taken += 1
        heapq.heappush(self.free_at, begin + service)
        return begin + FIRST * service, begin + service


class Connection(asyncio.Protocol):
    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.rest += data
        while b"\r\n\r\n" in self.rest:
            head, body = self.rest.split(b"\r\n\r\n", 1)
            length = 0
            for line in head.split(b"\r\n"):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            if len(body) < length:
                return
            self.rest = body[length:]
            self.answer(head, body[:length])

    def answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET"):
            models = json.dumps({"object": "list", "data": [{"id": "queue"}]}).encode()
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                % (len(models), models)
            )
            return
        asked = json.loads(body)
        loop = asyncio.get_running_loop()
        first, end = self.queue.times(loop.time())
        tokens = asked["max_tokens"]
        usage = {"prompt_tokens": len(asked["prompt"]), "completion_tokens": tokens}
        last = chunk(json.dumps({"choices": [], "usage": usage}))
        tail = TOKEN * (tokens - 1) + last + chunk("[DONE]") + b"0\r\n\r\n"
        loop.call_at(first, self.write, HEAD + TOKEN)
        loop.call_at(end, self.write, tail)

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)


def capacity_rps(
    slots: int, mean_s: float, sigma: float, percentile: float, limit_s: float
) -> float:
    """The highest Poisson rate whose percentile of latency, over 400,000 requests, is in limit."""
    count = 400_000
    services = service_times(mean_s, sigma, count, 1)
    gaps = np.random.default_rng(2).standard_exponential(count)
    unit = np.cumsum(gaps) / gaps.mean()

    def in_limit(rate: float) -> bool:
        free = [0.0] * slots
        over = 0
        for at, service in zip((unit / rate).tolist(), services, strict=True):
            end = max(at, heapq.heappop(free)) + service
            heapq.heappush(free, end)
            over += end - at > limit_s
        return over <= (1 - percentile / 100) * count

    low, high = 0.0, slots / mean_s
    while high - low > 0.001 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if in_limit(middle) else (low, middle)
    return low


async def main(slots: int, mean_s: float, sigma: float, seed: int) -> None:
    queue, loop = Queue(slots, mean_s, sigma, seed), asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(queue), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    slots, mean, spread, number = sys.argv[1:]
    asyncio.run(main(int(slots), float(mean), float(spread), int(number)))
