"""What the hold does to the interpreter itself: nothing, until the signal is delivered. Run by run.py."""

import os
import select
import signal
import subprocess
import sys
import threading
import time

import hold

WINDOW = int(os.environ["DEFER_WINDOW_MS"]) / 1000
arrived = []


def on_terminate(number, frame):
    arrived.append((time.monotonic(), threading.current_thread() is threading.main_thread()))


def readable(descriptor, seconds):
    return bool(select.select([descriptor], [], [], seconds)[0])


def child_blocked_in_a_read():
    """A forked child that waits in a system call runs its own Python handler at once: the call is interrupted."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(9))
        os.read(here, 1)
        os._exit(1)
    time.sleep(0.1)
    os.kill(child, signal.SIGTERM)
    return child


def child_with_the_inherited_handler():
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        # As a worker of a multiprocessing pool is: it never heard of a hold.
        threading.Timer(3, lambda: os._exit(1)).start()
        while not arrived:
            select.select([here], [], [], 0.01)
        os._exit(9)
    time.sleep(0.1)
    os.kill(child, signal.SIGTERM)
    return child


def status_of(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# As asyncio does it.
wakeup, write = os.pipe()
os.set_blocking(write, False)
signal.set_wakeup_fd(write)
signal.signal(signal.SIGTERM, on_terminate)
before = signal.getsignal(signal.SIGTERM)
hold.start()

assert status_of(child_blocked_in_a_read()) == 9
assert status_of(child_with_the_inherited_handler()) == 9
program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(9)"])
program.terminate()
assert program.wait() == -signal.SIGTERM, "an executed program inherits nothing"

while readable(wakeup, 0):  # the forked children's
    os.read(wakeup, 64)
asked = time.monotonic()
os.kill(os.getpid(), signal.SIGTERM)
assert not readable(wakeup, WINDOW / 2), "nothing was written to the interpreter's wakeup descriptor"
assert not arrived
time.sleep(WINDOW + 2)
assert len(arrived) == 1 and readable(wakeup, 0), "delivered, once, natively"
when, on_main_thread = arrived[0]
assert when - asked >= WINDOW and on_main_thread
assert signal.getsignal(signal.SIGTERM) is before
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(0.05)
assert len(arrived) == 2, "from now on the signal is the interpreter's"
print("ok")
