"""Two event loops in two threads of one process, and one application for both, as granian's workers are without a GIL."""

import signal
import time

from conftest import Connection, free_port, marks

TWO_LOOPS = """
import asyncio, lameduck, os, sys, threading, time, answers, uvicorn

async def application(scope, receive, send):
    assert scope["type"] == "http"
    print(scope["path"], flush=True)
    told.add("other")
    if scope["path"] == "/stuck":
        await asyncio.Event().wait()
    await asyncio.sleep(1)
    print("answered", flush=True)
    await answers.text(send)

told = set()
app = lameduck.asgi(application, grace=3.5, margin=0.3, reserve=0.8, window=0.2)
app.lameduck.on_close("pool", lambda: print("closed", flush=True))

def server(port):
    return uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))

def tell(other):
    app.lameduck.stop_notice.wait()
    print("handed over", flush=True)
    while "other" not in told:
        time.sleep(0.01)
    other.should_exit = True

async def main():
    first, other = server(int(sys.argv[1])), server(int(os.environ["OTHER_PORT"]))
    serving = asyncio.create_task(first.serve())
    while not first.started:
        await asyncio.sleep(0.01)
    threading.Thread(target=other.run, daemon=True).start()
    threading.Thread(target=tell, args=(other,), daemon=True).start()
    while not other.started:
        await asyncio.sleep(0.01)
    print("ready", flush=True)
    await serving

asyncio.run(main())
"""


def two_loops(serve):
    port = free_port()
    server = serve(TWO_LOOPS, "python app.py {port}", OTHER_PORT=str(port))
    server.await_text("ready")
    return server, Connection(port)


def test_resources_close_when_the_last_loop_has_drained(serve):
    server, other = two_loops(serve)
    server.signal()
    server.await_text("handed over")
    time.sleep(0.5)  # The first has stopped by now; were it later, this would only show less.
    assert other.send("/slow").answer().status == 200
    assert server.end() == -signal.SIGTERM
    assert server.text.index("answered") < server.text.index("closed")
    report = server.report
    assert report["requests"]["completed"] == 1 and report["lost"] == []
    assert marks(report)[-1] == "done"


def test_what_is_stuck_is_cut_on_its_own_loop(serve):
    server, other = two_loops(serve)
    other.send("/stuck")
    server.await_text("/stuck")
    assert server.stop() == -signal.SIGTERM
    answer = other.answer()
    assert answer.status == 503 and answer.headers["connection"] == "close"
    assert server.report["requests"]["forced"] == 1
