"""flask, gunicorn."""

import time

import lameduck
from flask import Flask
from pool import Pool

flask = Flask(__name__)
pool = Pool()


@flask.get("/slow")
def slow():
    time.sleep(1)
    return {"row": pool.query_now()}


# grace is gunicorn's graceful_timeout.
app = lameduck.wsgi(flask, live_path="/livez", ready_path="/readyz", checks={"database": pool.query_now})
app.lameduck.on_close("database", pool.close_now)
