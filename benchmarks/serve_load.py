"""Searches a running page at 1, 16 and 64 clients: requests a second, and how long an answer takes.

    cfmr serve --index runs/demo/index --videos runs/demo/videos --port 8000 --workers 2
    python benchmarks/serve_load.py http://127.0.0.1:8000 --sentences runs/demo/annotations/*.json

Clients share a process of their own and have kept connections, each asking its next sentence when the last is answered.
On a machine of two cores they take a part of what they measure; the last column says how much, a request. The server
keeps its last answers: with the sentences of annotation files, more than it keeps, each is searched anew; without, the
page's examples are asked again and again.
"""

import argparse
import http.client
import json
import multiprocessing
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

CLIENTS = (1, 16, 64)


def ask(host: str, sentences: list[str], path: str, seconds: float, connections: int, seed: int) -> list[float]:
    """Keep `connections` requests under way for some seconds; milliseconds of each."""
    import asyncio

    async def client(number: int, until: float, times: list[float]) -> None:
        name, _, port = host.partition(":")
        reader, writer = await asyncio.open_connection(name, int(port or 80))
        at = (seed + number) * len(sentences) // max(connections, 1)  # each begins elsewhere
        while time.perf_counter() < until:
            sentence = sentences[at % len(sentences)]
            at += 1
            began = time.perf_counter()
            writer.write(f"GET {path}{quote(sentence)} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.startswith(b"http/1.1 200"), head
            await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
            times.append((time.perf_counter() - began) * 1e3)
        writer.close()

    async def all_clients() -> list[float]:
        times: list[float] = []
        until = time.perf_counter() + seconds
        await asyncio.gather(*(client(number, until, times) for number in range(connections)))
        return times

    return asyncio.run(all_clients())


def asked(*how: Any) -> tuple[list[float], float]:
    """What `ask` measures, and the processor seconds that asking took, which the server did not have."""
    times = ask(*how)
    return times, time.process_time()


def sentences_of(host: str, files: list[Path]) -> list[str]:
    if files:
        return sorted({row[3] for path in files for row in json.loads(path.read_text())})
    connection = http.client.HTTPConnection(host, timeout=10)
    connection.request("GET", "/api/status")
    examples: list[str] = json.load(connection.getresponse())["examples"]
    return examples or ["a person opens a door", "someone walks away", "a dog runs"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8000")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument(
        "--sentences", nargs="+", type=Path, default=[], help="annotation files whose sentences are asked"
    )
    parser.add_argument("--clients", nargs="+", type=int, default=CLIENTS)
    parser.add_argument("--path", default="/api/search?top=12&q=")
    arguments = parser.parse_args()
    host = urlsplit(arguments.url).netloc
    sentences = sentences_of(host, arguments.sentences)
    ask(host, sentences, arguments.path, 1.0, 1, 0)  # warm up
    print(f"{'clients':>8} {'requests/s':>11} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'requests':>9} {'own ms':>8}")
    for clients in arguments.clients:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            work = (host, sentences, arguments.path, arguments.seconds, clients, clients)
            began = time.perf_counter()
            before = pool.apply(time.process_time)
            times, processor = pool.apply(asked, work)
            spent = min(time.perf_counter() - began, arguments.seconds)
        used = (processor - before) / len(times) * 1e3
        p50, p95, p99 = np.percentile(times, [50, 95, 99])
        print(
            f"{clients:>8} {len(times) / spent:>11.0f} {p50:>8.1f} {p95:>8.1f} {p99:>8.1f} {len(times):>9} {used:>8.3f}"
        )


if __name__ == "__main__":
    main()
