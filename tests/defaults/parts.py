"""Vendors on the loopback that count the prompts they get, and dispatchers of untouched settings over them."""

import json

from llmdispatcher import Dispatcher, Request
from llmdispatcher.testing import LoopbackServer, ManualClock
from llmdispatcher.vendors import vendor

KEY = "sk-default-0123456789"


class Server:
    """A server that has some models, lists them as OpenAI and Ollama do, and answers prompts in OpenAI's format."""

    def __init__(self, models=(), *, list_status=200, status=200, words="no"):
        self.models, self.list_status, self.status, self.words = models, list_status, status, words
        self.lists, self.prompts = 0, []
        self._loopback = LoopbackServer(self)
        self.url = self._loopback.url

    def __call__(self, peer, wire):
        if wire.method == "GET":
            self.lists += 1
            named = [{"name": model, "id": model} for model in self.models]
            peer.reply(self.list_status, json.dumps({"models": named, "data": named}).encode())
            return
        asked = json.loads(wire.body)
        self.prompts.append((wire.target, asked["model"]))
        if self.status != 200:
            peer.reply(self.status, json.dumps({"error": {"message": self.words}}).encode())
        elif "embed" in wire.target:
            vectors = [{"index": index, "embedding": [1.0]} for index in range(len(asked["input"]))]
            peer.reply(200, json.dumps({"data": vectors, "usage": {"prompt_tokens": 1, "total_tokens": 1}}).encode())
        elif wire.target == "/api/chat":
            message = {"role": "assistant", "content": "here"}
            peer.reply(200, json.dumps({"model": asked["model"], "message": message, "done": True, "done_reason": "stop"}).encode())
        else:
            choice = {"index": 0, "message": {"role": "assistant", "content": "here"}, "finish_reason": "stop"}
            peer.reply(200, json.dumps({"id": "1", "model": asked["model"], "choices": [choice]}).encode())

    @property
    def models_asked(self):
        return [model for _path, model in self.prompts]

    def close(self):
        self._loopback.close()


def made(*vendors, clock=None, **config):
    dispatcher = Dispatcher(config, clock=clock or ManualClock())
    for each in vendors:
        dispatcher.register_vendor(each)
    return dispatcher


def at(kind, url, **settings):
    """A vendor of the catalog at an address; what the catalog says of it stays."""
    path = {"ollama": "", "anthropic": ""}.get(kind, "/v1")
    return vendor(kind, api_key=KEY, base_url=url + path, trust_env=False, **settings)


def asked(model, **fields):
    return Request(model, "Hello", **fields)


def read(dispatcher, request, *, streamed):
    """The answer, whole or in pieces."""
    if not streamed:
        return dispatcher.send(request)
    with dispatcher.send_streaming(request) as stream:
        for _chunk in stream:
            pass
        return stream.response()
