"""The same with lameduck around them."""

import lameduck
import plain
import reports

reports.keep()
asgi = lameduck.asgi(plain.asgi)
wsgi = lameduck.wsgi(plain.wsgi)
for app in (asgi, wsgi):
    app.lameduck.on_close("pool", lambda: None)
