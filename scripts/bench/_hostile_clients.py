"""Hostile clients of wyoming_clients.py, in their own process: HOST PORT CLIENTS SECONDS; prints what they did as JSON.

Each client connects again as soon as it is disconnected. Kinds: garbage instead of events; a payload of 1e12 bytes;
sound at 3,000,017 Hz and at 1 Hz; connected and idle; half-closed, without reading any answer.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable

PAUSE_SECONDS = 0.2  # s before a client connects again
_SOUND = bytes(32_000)

Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter, random.Random], Awaitable[None]]


async def send_garbage(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random) -> None:
    choices = [
        rng.randbytes(5_000), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"[1, 2]\n", b"null\n", b"{}\n", b"x" * 200_000,
        b'{"type": 5}\n', b'{"type": "detect", "data": {"names": 7}}\n', b"[" * 60_000 + b"\n",
        b'{"type": "audio-chunk", "data": {}}\n' * 100,
    ]  # fmt: skip
    writer.write(rng.choice(choices))
    await writer.drain()


async def promise_bytes(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _rng: random.Random) -> None:
    writer.write(b'{"type": "describe", "payload_length": 1000000000000}\n')
    for _ in range(1_000):
        writer.write(_SOUND)
        await writer.drain()


async def send_odd_rate(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random) -> None:
    for rate in rng.sample([3_000_017, 2_147_483_647, 1, 0, -5], 5):
        header = {"type": "audio-chunk", "data": {"rate": rate, "width": 2, "channels": 1}}
        writer.write(json.dumps({**header, "payload_length": len(_SOUND)}).encode() + b"\n" + _SOUND)
        writer.write(b'{"type": "audio-start", "data": {"rate": 16000, "width": 2, "channels": 1}}\n')
        await writer.drain()


async def stay_idle(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter, _rng: random.Random) -> None:
    await reader.read(1)


async def close_half(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _rng: random.Random) -> None:
    for _ in range(100):
        writer.write(b'{"type": "describe"}\n')
    await writer.drain()
    writer.write_eof()
    await asyncio.sleep(2.0)


CLIENTS: dict[str, Client] = {
    "garbage": send_garbage,
    "1e12 bytes": promise_bytes,
    "odd rate": send_odd_rate,
    "idle": stay_idle,
    "half-closed": close_half,
}


async def repeat_client(kind: str, address: tuple[str, int], seed: int, until: float, done: Counter[str]) -> None:
    """Connect again and again as one kind of client until a time of `time.monotonic`."""
    rng = random.Random(seed)
    while (left := until - time.monotonic()) > 0:
        try:
            reader, writer = await asyncio.open_connection(*address)
        except OSError:
            done["refused"] += 1
            await asyncio.sleep(PAUSE_SECONDS)
            continue
        done[kind] += 1
        try:
            async with asyncio.timeout(left):
                await CLIENTS[kind](reader, writer, rng)
                await reader.read()  # until the server disconnects
        except (OSError, TimeoutError):
            pass  # the server closed the connection, or the time is over
        finally:
            writer.transport.abort()  # vanishes without a farewell
        await asyncio.sleep(PAUSE_SECONDS)


async def run_clients(host: str, port: int, clients: int, seconds: float) -> dict[str, int]:
    """Run `clients` clients, evenly of all kinds, for some seconds; return the connections by kind."""
    done: Counter[str] = Counter()
    until, kinds = time.monotonic() + seconds, list(CLIENTS)
    tasks = [repeat_client(kinds[i % len(kinds)], (host, port), i, until, done) for i in range(clients)]
    await asyncio.gather(*tasks)
    return dict(done)


if __name__ == "__main__":
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # not a warning for each send to a closed connection
    host, port, clients, seconds = sys.argv[1:5]
    print(json.dumps(asyncio.run(run_clients(host, int(port), int(clients), float(seconds)))))
