"""The application for WSGI servers: Django's, and the gateway under /llm, where whoever is signed in may ask without a key."""

import os
from typing import Any

from django.core.wsgi import get_wsgi_application

from llmdispatcher.integrations.django import get_dispatcher, signed_in_user
from llmdispatcher.server import GatewayUser, create_app, mount

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")


def user_of(environ: dict[str, Any]) -> GatewayUser | None:
    """Who asks the gateway: the user whom Django's session names."""
    user = signed_in_user(environ)
    return GatewayUser(organization="shop", id=user.get_username(), in_flight=4) if user is not None else None


django = get_wsgi_application()
application = mount(django, "/llm", create_app(get_dispatcher(), users=user_of, keys=os.environ.get("LLM_KEYS", "gateway.db")))
