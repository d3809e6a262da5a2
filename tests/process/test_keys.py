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


@pytest.mark.parametrize("key", BAD.values(), ids=BAD)
@pytest.mark.parametrize("kind", VENDORS)
def test_it_is_refused_when_the_vendor_is_made(kind, key):
    """A ConfigError that names the field and says what to do."""
    with pytest.raises(ConfigError, match="api_key: the key ending in") as caught:
        kind(api_key=key)

    assert [] == shown(caught.value, key)


@pytest.mark.parametrize("key", BAD.values(), ids=BAD)
def test_so_is_one_of_several(key):
    """Wherever it stands in the list."""
    with pytest.raises(ConfigError, match="the key ending in") as caught:
        OpenAIVendor(api_key=["sk-process-0123456789", key])

    assert [] == shown(caught.value, key)


@pytest.mark.parametrize("key", [key for key in BAD.values() if "\0" not in key and "\udc80" not in key])
def test_so_is_one_of_the_environment_at_its_first_use(monkeypatch, key):
    """Before anything is sent; the message names the vendor."""
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with VendorSimulator() as simulator, Dispatcher() as dispatcher:
        dispatcher.register_vendor(OpenAIVendor(base_url=simulator.openai_url, trust_env=False))
        with pytest.raises(ConfigError, match="openai: the key ending in") as caught:
            dispatcher.send(Request("gpt-4o", "hi"))

        assert ([], 0) == (shown(caught.value, key), simulator.hits)


@pytest.mark.parametrize("key", BAD.values(), ids=BAD)
def test_so_is_one_that_a_function_gives(key):
    """At each call, before anything is sent."""
    with VendorSimulator() as simulator:
        vendor = OpenAIVendor(api_key=lambda: key, base_url=simulator.openai_url, trust_env=False)
        with pytest.raises(ConfigError, match="the key ending in") as caught:
            vendor.send(Request("gpt-4o", "hi"), Deadline.after(5))

        assert ([], 0) == (shown(caught.value, key), simulator.hits)


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
