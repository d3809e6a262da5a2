"""Requests to any path of a vendor's API, and the files that vendors keep."""

from __future__ import annotations

import io
import json
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import pytest

from llmdispatcher import (
    AnthropicVendor,
    AuthenticationError,
    AzureOpenAIVendor,
    Cancellation,
    Cancelled,
    Config,
    Deadline,
    DeadlineExceeded,
    Dispatcher,
    DispatchError,
    FilePart,
    GoogleVendor,
    ImagePart,
    InvalidRequest,
    MalformedReply,
    Message,
    OllamaVendor,
    OpenAIVendor,
    RateLimitError,
    Request,
    VendorUnavailable,
    vendor,
)
from llmdispatcher.testing import LoopbackServer, ManualClock, VendorSimulator

from ..cases import each

KEY = "sk-test-0123456789"
PDF = b"%PDF-1.4\nhello \xff"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


@contextmanager
def api(answer, maker=OpenAIVendor, path="/v1", **settings):
    """A vendor whose server answers so, and the requests that it got."""
    with LoopbackServer(answer) as server, closing(maker(api_key=KEY, base_url=f"{server.url}{path}", **settings)) as made:
        yield made, server.requests


def reply(document, status=200, *headers):
    return lambda peer, _request: peer.reply(status, json.dumps(document).encode(), *headers)


def test_a_request_goes_below_the_address():
    """With the key, the query and the document; the answer has status, headers, text and document."""
    with api(reply({"data": [1]}, 200, ("X-Request-Id", "req-1"), ("X-Extra", "e"))) as (made, requests):
        answer = made.request("POST", "/vector_stores?limit=2", json={"name": "ä"}, params={"after": "a b", "all": True})
    assert (200, {"data": [1]}, '{"data": [1]}', "e", "req-1") == (
        answer.status,
        answer.json(),
        answer.text,
        answer.headers["x-extra"],
        answer.request_id,
    )
    sent = requests[0]
    assert ("POST", "/v1/vector_stores?limit=2&after=a+b&all=true") == (sent.method, sent.target)
    assert {"name": "ä"} == json.loads(sent.body)
    assert f"Bearer {KEY}" == sent.headers["authorization"]


@each("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def test_every_method_is_sent(method):
    """With and without a body of its own."""
    with api(lambda peer, request: peer.reply(200, b"" if request.method == "HEAD" else b"[1]")) as (made, requests):
        made.request(method, "models")
        made.request(method, "/models", data=b"a,b", content_type="text/csv", headers={"X-A": "1"})
    assert [(method, "/v1/models", b""), (method, "/v1/models", b"a,b")] == [(one.method, one.target, one.body) for one in requests]
    assert ("text/csv", "1") == (requests[1].headers["content-type"], requests[1].headers["x-a"])


@each(
    "maker, path, target",
    [
        (AnthropicVendor, "", "/v1/models"),
        (GoogleVendor, "/v1beta", "/v1beta/v1/models"),
        (OllamaVendor, "", "/v1/v1/models"),
        (AzureOpenAIVendor, "/openai/v1", "/openai/v1/v1/models"),
        (AzureOpenAIVendor, "", "/openai/v1/models?api-version=2024-10-21"),
    ],
)
def test_each_kind_of_address_is_kept(maker, path, target):
    """The classic one of Azure has its version."""
    settings = {"api_version": "2024-10-21"} if target.endswith("21") else {}
    with api(reply([]), maker, path, **settings) as (made, requests):
        made.request("GET", "/v1/models")
    assert target == requests[0].target


@each(
    "path",
    [
        *(
            "/../admin",
            "/a/../../b",
            "..",
            "/%2e%2e/admin",
            "/%252e%252e/admin",
            "/a/..%2f..%2fb",
            "/a\\..\\b",
            "/..;x/admin",
            "/./a",
        ),
        *(
            "//evil.test/x",
            "https://evil.test/x",
            "/https://evil.test",
            "/%2f%2fevil.test",
            "/a b",
            "/a#b",
            "/a\r\nX: y",
            "/\u0430",
            "/a%0d%0ab",
        ),
        *("/" + "a" * 5000, None, b"/x", 5),
    ],
)
def test_no_path_leaves_the_address(path):
    """Whatever its spelling: nothing is sent."""
    with api(reply([])) as (made, requests):
        with pytest.raises(InvalidRequest, match=r"^(openai: )?path: "):
            made.request("GET", path)
        assert [] == requests


@each(
    "given, told",
    [
        ({"method": "TRACE"}, "method: 'TRACE'"),
        ({"method": "get"}, "method: 'get'"),
        ({"json": {"a": {1}}}, "json: "),
        ({"json": float("nan")}, "json: "),
        ({"json": 1, "data": b"x"}, "data: json is given too"),
        ({"data": "text"}, "data: str is not bytes"),
        ({"params": [("a", 1)]}, "params: "),
        ({"params": {"a": None}}, "params: "),
        ({"max_body": 0}, "max_body: 0"),
        ({"max_body": "1"}, "max_body: '1'"),
        ({"max_retries": -1}, "max_retries: -1"),
        ({"timeout": 0}, "timeout: 0"),
        ({"cancel": 5}, "cancel: int is not a Cancellation"),
        ({"headers": {"Authorization": "x"}}, "headers: 'Authorization' is a credential"),
        ({"headers": {"Host": "evil.test"}}, "headers: 'Host' belongs to the connection"),
        ({"content_type": "a\r\nb: c"}, "headers: the value of 'Content-Type'"),
    ],
)
def test_what_cannot_be_sent_is_refused(given, told):
    """Field and remedy are told; nothing is sent."""
    with api(reply([])) as (made, requests):
        with pytest.raises(DispatchError) as caught:
            made.request(**{"method": "POST", "path": "/x", **given})
        assert str(caught.value).removeprefix("openai: ").startswith(told), str(caught.value)
        assert [] == requests


def test_refusals_are_the_librarys_errors():
    """With vendor, status and remedy; a redirect is not followed, and a key that is echoed is not shown."""
    for status, kind in ((401, AuthenticationError), (404, InvalidRequest), (400, InvalidRequest), (302, DispatchError)):
        said = {"error": {"message": f"no, {KEY}"}}
        with api(reply(said, status, ("Location", "http://evil.test/"))) as (made, requests):
            with pytest.raises(kind) as caught:
                made.request("POST", "/x", json={})
            assert (1, "openai", status) == (len(requests), caught.value.vendor, caught.value.status)
            assert KEY not in str(caught.value)


@each(
    "method, status, sent",
    [("GET", 500, 3), ("DELETE", 503, 3), ("POST", 429, 3), ("POST", 500, 3), ("GET", 400, 1), ("POST", None, 1), ("GET", None, 3)],
)
def test_failures_that_may_pass_are_tried_again(method, status, sent):
    """Up to ``max_retries`` times. Where no answer came, only a method that may arrive twice is repeated."""

    def answer(peer, _request):
        if status is None:
            return True
        peer.reply(status, b"{}", ("Retry-After", "0"))
        return None

    clock = ManualClock()
    with api(answer, clock=clock) as (made, requests), pytest.raises(DispatchError):
        made.request(method, "/x", max_retries=2, timeout=60)
    assert (sent, sent - 1) == (len(requests), len(clock.sleeps))


def test_a_wait_beyond_the_deadline_is_not_begun():
    """The vendor's word for it is raised at once."""
    with api(reply({}, 429, ("Retry-After", "30"))) as (made, requests), pytest.raises(RateLimitError):
        made.request("GET", "/x", timeout=5)
    assert 1 == len(requests)


def test_deadline_and_cancel_hold():
    """In the middle of an answer."""

    def half(peer, _request):
        peer.start_stream()
        peer.chunk(b"[")
        cancel.cancel() if cancelling else None
        return peer.hang_up()

    cancel, cancelling = Cancellation(), False
    with api(half) as (made, _requests):
        with pytest.raises(DeadlineExceeded):
            made.request("GET", "/x", timeout=0.3)
        cancelling = True
        with pytest.raises(Cancelled):
            made.request("GET", "/x", cancel=cancel)


def test_an_answer_is_bounded():
    """By ``max_body``; what is no document is told by ``json()`` alone."""
    with api(lambda peer, _request: peer.reply(200, b"x" * 5000)) as (made, _requests):
        with pytest.raises(MalformedReply, match="max_body"):
            made.request("GET", "/x", max_body=1000, max_retries=0)
        answer = made.request("GET", "/x")
        assert 5000 == len(answer.content)
        with pytest.raises(MalformedReply, match="not JSON"):
            answer.json()


def test_another_key_is_tried_after_a_refusal():
    """As with calls of the library's own."""

    def answer(peer, request):
        peer.reply(401 if request.headers["authorization"].endswith("a" * 20) else 200, b"{}")

    with LoopbackServer(answer) as server, closing(OpenAIVendor(api_key=["a" * 20, "b" * 20], base_url=f"{server.url}/v1")) as made:
        assert 200 == made.request("GET", "/models").status


class FileServer:
    """Servers that keep files, as the three vendors do; ``held`` are those that are there."""

    def __init__(self, states=("ACTIVE",)):
        self.held, self.pending, self.states, self.polls = {}, {}, [*states], 0

    def openai(self, peer, request):
        if request.method == "DELETE":
            return self._delete(peer, request.target.removeprefix("/v1/files/"), {"deleted": True})
        if not request.target.endswith("/files"):
            return peer.reply(200, json.dumps(CHAT).encode())
        fields = form(request)
        self.held["file-1"] = fields
        name = fields["file"][0]
        made = {"id": "file-1", "object": "file", "bytes": len(fields["file"][2]), "filename": name, "purpose": "user_data"}
        return peer.reply(200, json.dumps({**made, "created_at": 1, "expires_at": 1_800_000_000, "status": "processed"}).encode())

    def anthropic(self, peer, request):
        if "files-api-2025-04-14" not in request.headers.get("anthropic-beta", "").split(","):
            return peer.reply(400, b'{"type": "error", "error": {"type": "invalid_request_error", "message": "no beta"}}')
        if request.method == "DELETE":
            return self._delete(peer, request.target.removeprefix("/v1/files/"), {"type": "file_deleted"})
        if request.target == "/v1/messages":
            return peer.reply(200, json.dumps(MESSAGE).encode())
        fields = form(request)
        self.held["file_011"] = fields
        name, kind, data = fields["file"]
        made = {
            "id": "file_011",
            "type": "file",
            "filename": name,
            "mime_type": kind,
            "size_bytes": len(data),
            "downloadable": False,
        }
        return peer.reply(200, json.dumps({**made, "created_at": "2026-11-01T00:00:00Z"}).encode())

    def google(self, peer, request):
        base = "https://generativelanguage.googleapis.com"
        if request.target == "/upload/v1beta/files":
            self.pending = dict(request.headers, body=request.body)
            return peer.reply(200, b"", ("X-Goog-Upload-Url", f"{base}/upload/v1beta/files?upload_id=u1&upload_protocol=resumable"))
        if request.target.startswith("/upload/v1beta/files?upload_id=u1"):
            self.held["files/abc-1"] = (
                request.headers["x-goog-upload-command"],
                request.headers["x-goog-upload-offset"],
                request.body,
            )
        elif request.method == "DELETE":
            return self._delete(peer, request.target.removeprefix("/v1beta/"), {})
        elif request.method == "POST":
            return peer.reply(200, json.dumps(CONTENT).encode())
        else:
            self.polls += 1
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        file = {"name": "files/abc-1", "uri": f"{base}/v1beta/files/abc-1", "mimeType": "application/pdf", "state": state}
        file |= {"displayName": "a.pdf", "expirationTime": "2026-12-02T10:00:00.123456Z"}
        return peer.reply(200, json.dumps({"file": file} if request.method == "POST" else file).encode())

    def _delete(self, peer, name, told):
        if self.held.pop(name, None) is None:
            return peer.reply(
                404, b'{"error": {"message": "No such file", "type": "not_found_error", "code": 404, "status": "NOT_FOUND"}}'
            )
        return peer.reply(200, json.dumps({"id": name, **told}).encode())


CHAT = {
    "id": "c",
    "object": "chat.completion",
    "model": "gpt-4o",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "ok"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
MESSAGE = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-6",
    "content": [{"type": "text", "text": "ok"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
CONTENT = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "ok"}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2},
}


def form(request):
    """The fields of a form, read as a server does: texts, and a file's name, type and bytes."""
    from email import message_from_bytes

    whole = message_from_bytes(f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode() + request.body)
    fields = {}
    for part in whole.get_payload():
        name, file = part.get_param("name", header="content-disposition"), part.get_filename()
        fields[name] = (file, part.get_content_type(), part.get_payload(decode=True)) if file else part.get_payload()
    return fields


SERVERS = {
    "openai": (OpenAIVendor, "/v1", "gpt-4o", "file-1"),
    "anthropic": (AnthropicVendor, "", "claude-sonnet-4-6", "file_011"),
    "google": (GoogleVendor, "/v1beta", "gemini-2.5-flash", "https://generativelanguage.googleapis.com/v1beta/files/abc-1"),
}


@each("kind", [*SERVERS])
def test_a_file_is_uploaded_used_and_deleted(kind, tmp_path):
    """By each vendor's own API: its bytes arrive, its id stands in the message, and then it is gone."""
    maker, path, model, file_id = SERVERS[kind]
    server = FileServer()
    (tmp_path / "a.pdf").write_bytes(PDF)
    with api(getattr(server, kind), maker, path) as (made, requests):
        uploaded = made.upload_file(tmp_path / "a.pdf")
        assert (file_id, kind, "a.pdf", "application/pdf", len(PDF)) == (
            uploaded.id,
            uploaded.vendor,
            uploaded.name,
            uploaded.media_type,
            uploaded.size,
        )
        kept = next(iter(server.held.values()))
        assert PDF == (kept["file"] if isinstance(kept, dict) else kept)[2]

        asked = Request(model, [Message.user("What is it?", uploaded.part)])
        assert "ok" == made.send(asked, Deadline.after(30)).content
        assert file_id in requests[-1].body.decode()

        made.delete_file(uploaded)
        assert {} == server.held
        with pytest.raises(InvalidRequest, match="check the path, and the id in it"):
            made.delete_file(uploaded.id)


def test_what_each_api_is_told():
    """Purpose and time of OpenAI, name and type of Google's first request, times of expiry."""
    server = FileServer()
    with api(server.openai) as (made, _requests):
        uploaded = made.upload_file(PDF, name='q"1".pdf', purpose="assistants", expires_after=3600)
        fields = server.held["file-1"]
        assert ("assistants", "created_at", "3600") == tuple(
            fields[name] for name in ("purpose", "expires_after[anchor]", "expires_after[seconds]")
        )
        assert "q%221%22.pdf" == fields["file"][0]
        assert datetime(2027, 1, 15, 8, 0, tzinfo=UTC) == uploaded.expires_at
        made.upload_file(io.BytesIO(PNG), name="a.png")
        assert ("vision", "image/png") == (server.held["file-1"]["purpose"], server.held["file-1"]["file"][1])
    with api(server.google, GoogleVendor, "/v1beta") as (made, _requests):
        uploaded = made.upload_file(FilePart(data=PDF, media_type="application/pdf", name="a.pdf"))
        assert (f"{len(PDF)}", "application/pdf", "start") == tuple(
            server.pending[f"x-goog-upload-{name}"] for name in ("header-content-length", "header-content-type", "command")
        )
        assert {"file": {"displayName": "a.pdf"}} == json.loads(server.pending["body"])
        assert ("upload, finalize", "0") == server.held["files/abc-1"][:2]
        assert 2 == uploaded.expires_at.day


def test_google_is_asked_until_it_has_read_the_file():
    """A file that it cannot process is an error."""
    server, clock = FileServer(["PROCESSING", "PROCESSING", "ACTIVE"]), ManualClock()
    with api(server.google, GoogleVendor, "/v1beta", clock=clock) as (made, _requests):
        made.upload_file(PDF)
        assert (2, [1.0, 1.0]) == (server.polls, clock.sleeps)
    failed = api(FileServer(["FAILED"]).google, GoogleVendor, "/v1beta")
    with failed as (made, _requests), pytest.raises(VendorUnavailable, match="could not process the file"):
        made.upload_file(PDF)


@each("where", ["https://evil.test/upload?x=1", "//evil.test/upload", "", "file:///etc/passwd"])
def test_googles_bytes_go_to_its_own_origin_alone(where):
    """Whatever address the first answer names."""
    sent = []

    def answer(peer, request):
        sent.append(request.target)
        peer.reply(200, b"{}", ("X-Goog-Upload-Url", where))

    with api(answer, GoogleVendor, "/v1beta") as (made, _requests), pytest.raises(DispatchError):
        made.upload_file(PDF, timeout=30)
    assert 1 <= len(sent) <= 2


def test_betas_are_joined_and_asked_for_only_where_they_are_needed():
    """A message without a file names none; one with a file keeps those of settings and request."""
    with api(reply(MESSAGE), AnthropicVendor, "", headers={"anthropic-beta": "one"}) as (made, requests):
        for content, given in (
            ("hi", None),
            (FilePart(file_id="file_1"), None),
            (FilePart(file_id="file_1"), {"Anthropic-Beta": "two"}),
        ):
            made.send(Request("claude-sonnet-4-6", [Message.user(content)], headers=given), Deadline.after(30))
    assert ["one", "one,files-api-2025-04-14", "two,files-api-2025-04-14"] == [one.headers["anthropic-beta"] for one in requests]


@each(
    "given, told",
    [
        ({"file": "/nowhere/a.pdf"}, "cannot be read: No such file"),
        ({"file": "/"}, "it is a folder, a pipe or a device"),
        ({"file": "/dev/zero"}, "'zero' cannot be read: it is a folder, a pipe or a device"),
        ({"file": "https://example.com/a.pdf"}, "an address is not uploaded"),
        ({"file": "a\0b"}, "cannot be read"),
        ({"file": b""}, "it is empty"),
        ({"file": FilePart(file_id="x")}, "a part without data"),
        ({"file": io.StringIO("x")}, "StringIO is no file"),
        ({"file": 5}, "int is no file"),
        ({"file": None}, "NoneType is no file"),
        ({"file": PDF, "name": "a\r\nb"}, "name: "),
        ({"file": PDF, "media_type": "text/plain\r\nX: y"}, "media_type: "),
        ({"file": PDF, "media_type": 5}, "media_type: "),
        ({"file": PDF, "purpose": "x\r\n\r\ny"}, "purpose: "),
        ({"file": PDF, "expires_after": 0}, "expires_after: 0"),
    ],
)
def test_what_is_no_file_is_refused(given, told):
    """Before anything is sent."""
    with api(reply({})) as (made, requests):
        with pytest.raises(InvalidRequest) as caught:
            made.upload_file(**given)
        assert told in str(caught.value), str(caught.value)
        assert [] == requests


@each("file", ["", "..", "../models", "a/b", "a b", "a?b", "a\r\nb", "x" * 500, None, 5, b"file-1", FilePart(file_id="file-1")])
def test_what_is_no_id_is_not_deleted(file):
    """Of any vendor: nothing is sent."""
    for maker, path, _model, _id in SERVERS.values():
        with api(reply({}), maker, path) as (made, requests):
            with pytest.raises(InvalidRequest, match=r"file: "):
                made.delete_file(file)
            assert [] == requests


def test_who_keeps_no_files_says_so():
    """Servers of Ollama's kind and Vertex; settings that others lack are named."""
    for made in (OllamaVendor(), vendor("vertex", api_key=KEY, base_url="http://127.0.0.1:1/v1")):
        with closing(made), pytest.raises(InvalidRequest, match="keeps no files"):
            made.upload_file(PDF)
    with (
        closing(AnthropicVendor(api_key=KEY)) as made,
        pytest.raises(InvalidRequest, match=r"purpose: files of anthropic have none"),
    ):
        made.upload_file(PDF, purpose="user_data")


@each("told", [{}, {"id": None}, {"id": ""}, {"id": 5}, [], None, {"id": "x" * 5000}, {"id": "a\nb"}])
def test_an_answer_without_an_id_is_told(told):
    """Of each vendor."""
    for maker, path, _model, _id in SERVERS.values():
        odd = api(reply(told, 200, ("X-Goog-Upload-Url", "http://x/y")), maker, path)
        with odd as (made, _requests), pytest.raises(DispatchError):
            made.upload_file(PDF)


def test_a_file_is_asked_for_at_its_vendor_alone():
    """Failover leaves out vendors that do not have it, and says so; a file without a vendor goes to each."""
    with LoopbackServer(reply({"error": {"message": "down"}}, 500)) as broken, VendorSimulator(responses="hello") as simulator:
        config = Config(fallback_vendor="anthropic", retry_policy={"max_retries": 0})
        with Dispatcher(config) as dispatcher:
            dispatcher.register_vendor(OpenAIVendor(api_key=KEY, base_url=f"{broken.url}/v1"))
            dispatcher.register_vendor(AnthropicVendor(api_key=KEY, base_url=simulator.anthropic_url))
            for part in (FilePart(file_id="file-1", vendor="openai"), ImagePart(file_id="file-1", vendor="openai")):
                asked = Request("gpt-4o", [Message.user("What?", part)])
                with pytest.raises(DispatchError):
                    dispatcher.send(asked, timeout=30)
                skipped = [one for one in dispatcher.explain(asked).skipped if one.vendor == "anthropic"]
                assert "the request names a file that openai has" in skipped[0].reason
            assert [] == simulator.requests


@each("kind", [*SERVERS])
def test_the_simulator_keeps_files_as_the_vendors_do(kind):
    """Uploaded, used in a message, deleted; a wrong key is refused."""
    maker, _path, model, _id = SERVERS[kind]
    with VendorSimulator(responses="hello", keys=[KEY]) as simulator:
        with closing(maker(api_key=KEY, base_url=getattr(simulator, f"{kind}_url"))) as made:
            uploaded = made.upload_file(PDF, name="a.pdf")
            assert [(PDF, "a.pdf", "application/pdf")] == [(one.data, one.name, one.media_type) for one in simulator.files]
            assert "hello" == made.send(Request(model, [Message.user("What?", uploaded.part)]), Deadline.after(30)).content
            made.delete_file(uploaded)
            assert [] == simulator.files
        stranger = maker(api_key="another-key", base_url=getattr(simulator, f"{kind}_url"))
        with closing(stranger), pytest.raises(AuthenticationError):
            stranger.upload_file(PDF)
