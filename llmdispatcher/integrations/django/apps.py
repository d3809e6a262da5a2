"""The application for ``INSTALLED_APPS``: its check reads the setting whenever Django checks a project."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from llmdispatcher import ConfigError

from . import SETTING, get_dispatcher


class LLMDispatcherConfig(AppConfig):
    """The application."""

    name = "llmdispatcher.integrations.django"
    label = "llmdispatcher"
    verbose_name = "llmdispatcher"

    def ready(self) -> None:
        """Have the setting checked."""
        register(check_setting, "llmdispatcher")


def check_setting(**_: Any) -> list[CheckMessage]:
    """A mistake in the setting is an error; a vendor that it names and that cannot be asked is a warning."""
    try:
        lacking = get_dispatcher().check_vendors()
    except ConfigError as error:
        return [Error(error.message, id="llmdispatcher.E001")]
    named = hasattr(settings, SETTING)
    return [Warning(f"{SETTING}: {text}" if named else text, id="llmdispatcher.W001") for text in lacking]
