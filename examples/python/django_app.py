"""django, uvicorn[standard]."""

import time

import django
import lameduck
from django.conf import settings
from django.http import JsonResponse
from django.urls import path
from pool import Pool

settings.configure(SECRET_KEY="an example", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__)
django.setup()
pool = Pool()


def slow(request):
    time.sleep(1)
    return JsonResponse({"row": pool.query_now()})


urlpatterns = [path("slow", slow)]

from django.core.asgi import get_asgi_application  # noqa: E402

app = lameduck.asgi(get_asgi_application(), grace=30, live_path="/livez", ready_path="/readyz")
app.lameduck.on_close("database", pool.close_now)
