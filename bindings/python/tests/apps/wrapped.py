"""The same with lameduck around them."""

import lameduck
import plain
import reports

reports.keep()
asgi = lameduck.asgi(plain.asgi)
wsgi = lameduck.wsgi(plain.wsgi)
for app in (asgi, wsgi):
    app.lameduck.on_close("pool", lambda: None)

if __name__ == "__main__":
    import lameduck.aiohttp

    server = plain.aiohttp()
    lameduck.aiohttp.attach(server).on_close("pool", lambda: None)
    plain.serve(server)
