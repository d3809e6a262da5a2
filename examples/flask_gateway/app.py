"""A Flask application with the gateway under /llm: whoever is signed in may ask, without a key. README.md says how to run it."""

import os
from pathlib import Path
from typing import Any

import flask

from llmdispatcher.integrations.flask import LLMDispatcher
from llmdispatcher.server import GatewayUser, create_app, mount

HERE = Path(__file__).parent
app = flask.Flask(__name__)
app.secret_key = os.environ.get("SECRET_KEY", "only for a try")
app.config["LLMDISPATCHER"] = os.environ.get("LLM_CONFIG", str(HERE / "llm.toml"))
llm = LLMDispatcher(app)


def user_of(environ: dict[str, Any]) -> GatewayUser | None:
    """Who asks the gateway: the name in Flask's session, with a budget for each day."""
    with app.request_context(environ):
        name = flask.session.get("name")
    return GatewayUser(organization="shop", id=name, models=("gpt-4o-mini",), budget="0.0006/day") if name else None


with app.app_context():
    gateway = create_app(llm.dispatcher, users=user_of, keys=os.environ.get("LLM_KEYS", HERE / "gateway.db"))
app.wsgi_app = mount(app.wsgi_app, "/llm", gateway)  # type: ignore[assignment, method-assign]  # as Flask advises


@app.post("/sign-in")
def sign_in() -> str:
    """A real application asks for a password."""
    flask.session["name"] = flask.request.form["name"]
    return "You are signed in."


@app.get("/")
def index() -> str:
    """A page that asks the gateway as OpenAI's clients do."""
    return """<form action="/sign-in" method="post"><input name="name" value="ada"><button>Sign in</button></form>
      <form onsubmit="fetch('/llm/v1/chat/completions', {method: 'POST', headers: {'Content-Type': 'application/json'},
        body: JSON.stringify({model: 'gpt-4o-mini', messages: [{role: 'user', content: this.q.value}], max_tokens: 300})})
        .then(answer => answer.text()).then(text => { document.querySelector('pre').textContent = text; }); return false">
      <input name="q" value="Why is the sky blue?"><button>Ask</button></form><pre></pre>"""
