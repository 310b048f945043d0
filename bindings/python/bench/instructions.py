#!/usr/bin/env python3
"""Instructions that a request costs, counted by valgrind, which no busy machine disturbs. Prints a table in Markdown.

Each case is run with two numbers of rounds; what the difference costs is the rounds'. `passed` and `marked` are what any wrapper
costs that is an object with an `async def __call__`, and that marks what runs in a request.
"""

import asyncio
import contextvars
import os
import re
import socket
import subprocess
import sys

FEWER, MORE = 500, 2_500


class Account:
    """What somebody would write by hand: two attributes and a call."""

    def __init__(self):
        self.in_flight = 0
        self.total = 0

    def changed(self):
        pass


async def no_send(message):
    pass


def scope():
    return {"type": "http", "method": "GET", "path": "/", "http_version": "1.1", "client": ("127.0.0.1", 5), "headers": []}


def application(name):
    import app

    if name != "lameduck":
        return getattr(app, name)
    import lameduck

    server = lameduck.asgi(app.bare, signals=[])
    server.lameduck._start(asyncio.get_running_loop())
    return server


async def serve(app):
    await app(scope(), None, no_send)


async def requests(rounds, name):
    app = application(name)
    for _ in range(rounds):
        # In a context of its own and awaited, as in a server.
        request = serve(app)
        try:
            contextvars.copy_context().run(request.send, None)
        except StopIteration:
            continue


async def by_hand(rounds):
    account = Account()
    for _ in range(rounds):
        account.in_flight += 1
        account.total += 1
        account.changed()


async def by_the_extension(rounds):
    hold = application("lameduck").lameduck._hold
    began, ended = hold.request_began, hold.request_ended
    for _ in range(rounds):
        ended(began(), "completed")


async def by_nobody(rounds):
    for _ in range(rounds):
        pass


async def uvicorn(rounds, name):
    """uvicorn's protocol over a transport that is none: all of it but the kernel."""
    from uvicorn import Config
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    from uvicorn.server import ServerState

    class Transport(asyncio.Transport):
        def get_extra_info(self, name, default=None):
            return {"peername": ("127.0.0.1", 5), "sockname": ("127.0.0.1", 6)}.get(name, default)

        def is_closing(self):
            return False

        def write(self, data):
            pass

        def set_protocol(self, protocol):
            pass

        def resume_reading(self):
            pass

        pause_reading = resume_reading

    config = Config(application(name), log_level="error", lifespan="off")
    config.load()
    state = ServerState()
    protocol = HttpToolsProtocol(config, state, app_state={})
    protocol.connection_made(Transport())
    for _ in range(rounds):
        protocol.data_received(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
        while state.tasks:
            await asyncio.sleep(0)


CASES = {
    "bare": lambda rounds: requests(rounds, "bare"),
    "passed": lambda rounds: requests(rounds, "passed"),
    "marked": lambda rounds: requests(rounds, "marked"),
    "lameduck": lambda rounds: requests(rounds, "lameduck"),
    "uvicorn": lambda rounds: uvicorn(rounds, "bare"),
    "uvicorn, lameduck": lambda rounds: uvicorn(rounds, "lameduck"),
    "nobody": by_nobody,
    "hand": by_hand,
    "extension": by_the_extension,
}


def instructions(case, rounds):
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, __file__, case, str(rounds)]
    end = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": "0"})
    found = re.search(r"Collected : (\d+)", end.stderr)
    if end.returncode != 0 or found is None:
        sys.exit(f"{case} failed:\n{end.stderr[-2000:]}")
    return int(found[1])


def each(case):
    return (instructions(case, MORE) - instructions(case, FEWER)) / (MORE - FEWER)


def main():
    cost = {case: each(case) for case in (sys.argv[1:] or CASES)}
    print("| | instructions per request |\n|---|---|")
    for case, count in cost.items():
        print(f"| {case} | {count:.0f} |")
    if len(cost) == len(CASES):
        bare, passed, marked, wrapped = (cost[name] for name in ("bare", "passed", "marked", "lameduck"))
        in_it = cost["uvicorn, lameduck"] - cost["uvicorn"]
        extension, hand = cost["extension"] - cost["nobody"], cost["hand"] - cost["nobody"]
        print(f"\nthe wrapper: {wrapped - bare:.0f}; in uvicorn: {in_it:.0f}, beside its own {cost['uvicorn']:.0f} without the kernel")
        print(f"an empty wrapper: {passed - bare:.0f}; and a context variable: {marked - passed:.0f}")
        print(f"begin and end through the extension: {extension:.0f}; two attribute updates and a call: {hand:.0f}")


async def one(case, rounds):
    with socket.create_server(("127.0.0.1", 0)):
        await CASES[case](rounds)


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[2].isdigit():
        asyncio.run(one(sys.argv[1], int(sys.argv[2])))
        os._exit(0)
    main()
