"""A WSGI application, and the gunicorn hooks that hold a worker around it (`gunicorn --config wsgi.py`)."""

import itertools
import time

import hold

_turn = itertools.count()


def app(environ, start_response):
    if next(_turn) % 8 == 0:
        time.sleep(0.02)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


def post_worker_init(worker):
    hold.start()


def pre_request(worker, request):
    if hold.announcing():
        request.force_close()


def worker_exit(server, worker):
    hold.server_stopped()
