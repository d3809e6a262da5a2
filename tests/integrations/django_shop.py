"""A Django project in one file, run by the tests: `python -m tests.integrations.django_shop check`, or as a WSGI application."""

import os
import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

from llmdispatcher import Request

settings.configure(
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["llmdispatcher.integrations.django"],
    LLMDISPATCHER=os.environ["SHOP_CONFIG"],
    MIDDLEWARE=["llmdispatcher.integrations.django.ErrorMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="only for tests",
)
application = get_wsgi_application()

from llmdispatcher.integrations.django import get_dispatcher, stream  # noqa: E402 - the settings come first


def ask(request):
    """A whole answer."""
    return HttpResponse(get_dispatcher().send(Request(request.GET.get("model", "gpt-4o-mini"), "Why?")).content)


def events(_request):
    """A streamed one."""
    return stream(Request("gpt-4o-mini", "Why?"), heartbeat=0.05)


urlpatterns = [path("ask", ask), path("stream", events)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
