"""gunicorn's server hooks: ``gunicorn -c python:lameduck.gunicorn app:app``, or ``from lameduck.gunicorn import *`` in a
configuration of its own.

An application that is not wrapped is wrapped here, with the policy of the environment.
"""

from __future__ import annotations

from typing import Any

from . import wsgi
from ._duck import Lameduck

__all__ = ["post_worker_init", "pre_request", "worker_exit"]


def post_worker_init(worker: Any) -> None:
    """The worker has its application and its signal handlers."""
    duck = _duck(worker)
    if duck is None and _speaks_wsgi(worker):
        worker.wsgi = wsgi(worker.wsgi)
        duck = _duck(worker)
    if duck is None:
        return  # ASGI workers: the application is wrapped, and its lifespan starts it.
    duck._allow(float(worker.cfg.graceful_timeout))
    if _speaks_wsgi(worker):
        duck._start()


def pre_request(worker: Any, request: Any) -> None:
    """Says `Connection: close`, which a WSGI application may not."""
    duck = _duck(worker)
    if duck is not None and duck._hold is not None and hasattr(request, "force_close"):
        if duck._hold.announcing_to(hash(request.remote_addr)):
            request.force_close()


def worker_exit(server: Any, worker: Any) -> None:
    """The worker has stopped."""
    duck = _duck(worker)
    if duck is not None and duck._hold is not None:
        duck._server_stopped()
        duck._done_notice.wait()


def _duck(worker: Any) -> Lameduck | None:
    duck = getattr(getattr(worker, "wsgi", None), "lameduck", None)
    return duck if isinstance(duck, Lameduck) else None


def _speaks_wsgi(worker: Any) -> bool:
    kinds = {kind.__module__ for kind in type(worker).__mro__}
    return not kinds & {"uvicorn.workers", "uvicorn_worker._workers", "gunicorn.workers.gasgi"}
