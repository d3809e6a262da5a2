"""The views and their addresses."""

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.urls import path

from llmdispatcher import Request
from llmdispatcher.integrations.django import get_dispatcher, stream


def question(request: HttpRequest) -> Request:
    """What a client asks; ``user`` is whose budget it is."""
    return Request("gpt-4o-mini", request.GET["q"], user=request.GET.get("user"), max_tokens=300)


def ask(request: HttpRequest) -> HttpResponseBase:
    """The answer in one piece."""
    response = get_dispatcher().send(question(request))
    return JsonResponse({"answer": response.content, "model": response.ref, "cost": f"{response.usage.cost:f}"})


def events(request: HttpRequest) -> HttpResponseBase:
    """The answer piece by piece, for an EventSource in a browser."""
    return stream(question(request), heartbeat=settings.HEARTBEAT, patience=2)


urlpatterns = [path("ask", ask), path("stream", events), path("admin/", admin.site.urls)]
