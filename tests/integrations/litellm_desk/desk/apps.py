"""The desk as an application of Django."""

from django.apps import AppConfig


class DeskConfig(AppConfig):
    name = "desk"

    def ready(self):
        from . import callbacks

        callbacks.install()
