"""Stops ASGI and WSGI servers without dropping a request: one line around the application.

``app = lameduck.asgi(app)`` or ``app = lameduck.wsgi(app)``; see the README for the options and the handle, ``app.lameduck``.
"""

from ._asgi import AsgiApp, asgi
from ._duck import Lameduck
from ._job import Job
from ._notice import Notice
from ._request import Request
from ._wsgi import WsgiApp, wsgi

__all__ = ["AsgiApp", "Job", "Lameduck", "Notice", "Request", "WsgiApp", "asgi", "wsgi"]
