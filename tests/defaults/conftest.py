"""Servers that end with their test."""

import pytest

from .parts import Server


@pytest.fixture
def serve():
    running = []

    def start(*models, **settings):
        running.append(Server(models, **settings))
        return running[-1]

    yield start
    for server in running:
        server.close()
