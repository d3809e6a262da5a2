"""L2: a key that no header can carry is refused when it is loaded, and no more of it is shown than its last four characters."""

import pytest

from llmdispatcher import AnthropicVendor, ConfigError, Deadline, Dispatcher, GoogleVendor, OpenAIVendor, Request
from llmdispatcher.testing import VendorSimulator

SECRET = "sk-Zq8vK2mW9xT4"
WORDS = ("Zq8v", "K2mW", "8vK2mW9x")
BAD = {
    "newline inside": f"{SECRET}\nend",
    "newline and a header": f"{SECRET}\r\nX-Evil: 1",
    "space inside": f"{SECRET} end",
    "tab inside": f"{SECRET}\tend",
    "ellipsis": f"{SECRET}…9xT4",
    "non-latin": f"{SECRET}ключ",
    "latin-1": f"{SECRET}é",
    "NUL": f"{SECRET}\0abc",
    "DEL": f"{SECRET}\x7fabc",
    "surrogate": f"{SECRET}\udc80",
    "10 KB": SECRET + "x" * 10_000 + "tail",
    "quoted": f'"{SECRET}\n"',
}
VENDORS = [OpenAIVendor, AnthropicVendor, GoogleVendor]


def shown(error, key):
    """What of the key an error tells, anywhere: pieces of four characters that are not its last."""
    told = f"{error!s} {error!r} {error.args!r} {error.__dict__!r} {error.__cause__!r} {error.__context__!r}"
    pieces = {key[start : start + 4] for start in range(max(1, len(key) - 4))} - {key[-4:]}
    return [piece for piece in pieces if piece.strip() and piece in told and piece not in "xxxx"] + [w for w in WORDS if w in told]


@pytest.fixture(params=BAD.values(), ids=BAD)
def key(request):
    return request.param


@pytest.fixture
def refused(key):
    """Whether a call is refused with these words, and shows nothing of the key."""

    def refused(words, call):
        with pytest.raises(ConfigError, match=words) as caught:
            call()
        assert [] == shown(caught.value, key)

    return refused


def test_it_is_refused_when_the_vendor_is_made(key, refused):
    """A ConfigError that names the field and says what to do; so is one of several, wherever it stands in the list."""
    for kind in VENDORS:
        refused("api_key: the key ending in", lambda kind=kind: kind(api_key=key))
    refused("the key ending in", lambda: OpenAIVendor(api_key=["sk-process-0123456789", key]))


def test_so_is_one_that_is_found_at_its_first_use(monkeypatch, key, refused):
    """In the environment, or given by a function: before anything is sent; the message names the vendor."""
    with VendorSimulator() as simulator, Dispatcher() as dispatcher:
        if "\0" not in key and "\udc80" not in key:
            monkeypatch.setenv("OPENAI_API_KEY", key)
            dispatcher.register_vendor(OpenAIVendor(base_url=simulator.openai_url, trust_env=False))
            refused("openai: the key ending in", lambda: dispatcher.send(Request("gpt-4o", "hi")))
        vendor = OpenAIVendor(api_key=lambda: key, base_url=simulator.openai_url, trust_env=False)
        refused("the key ending in", lambda: vendor.send(Request("gpt-4o", "hi"), Deadline.after(5)))

        assert 0 == simulator.hits


@pytest.mark.parametrize("key", ["", " ", "\n", b"sk-bytes-0123456789", 7, [], [""], [None]])
def test_what_is_no_key_at_all_is_refused_without_being_shown(key):
    """Empty, blank, no text, a list without a key."""
    with pytest.raises(ConfigError, match="api_key: ") as caught:
        OpenAIVendor(api_key=key)

    assert "bytes-0123" not in str(caught.value)


def test_the_end_of_a_short_key_is_not_shown():
    """Nor are empty quotes."""
    with pytest.raises(ConfigError, match=r"api_key: the key ending in \*\*\*\* has blanks"):
        OpenAIVendor(api_key="sk-abc def")
