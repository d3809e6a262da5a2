"""A Flask application that answers questions in one piece and as a stream. README.md says how to run it."""

import os
from pathlib import Path

import flask

from llmdispatcher import Request
from llmdispatcher.integrations.flask import LLMDispatcher

app = flask.Flask(__name__)
app.config["LLMDISPATCHER"] = os.environ.get("LLM_CONFIG", str(Path(__file__).with_name("llm.toml")))
app.config["HEARTBEAT"] = 15
app.config.from_prefixed_env()  # FLASK_HEARTBEAT=5 is another heartbeat
llm = LLMDispatcher(app)


def question() -> Request:
    """What a client asks; ``user`` is whose budget it is."""
    return Request("gpt-4o-mini", flask.request.values["q"], user=flask.request.values.get("user"), max_tokens=300)


@app.get("/ask")
def ask() -> dict[str, str]:
    """The answer in one piece."""
    response = llm.dispatcher.send(question())
    return {"answer": response.content, "model": response.ref, "cost": f"{response.usage.cost:f}"}


@app.get("/stream")
def stream() -> flask.Response:
    """The answer piece by piece, for an EventSource in a browser."""
    return llm.stream(question(), heartbeat=app.config["HEARTBEAT"], patience=2)


@app.get("/")
def index() -> str:
    """A page that shows a stream."""
    return """<form onsubmit="const out = document.querySelector('pre'); out.textContent = '';
      const events = new EventSource('/stream?q=' + encodeURIComponent(this.q.value));
      events.onmessage = event => { out.textContent += JSON.parse(event.data).content || ''; };
      events.addEventListener('done', () => events.close());
      events.onerror = () => events.close(); return false">
      <input name="q" value="Why is the sky blue?"><button>Ask</button></form><pre></pre>"""
