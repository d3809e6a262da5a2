"""Addresses and places: one policy, by table."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from llmdispatcher import ConfigError, Registry
from llmdispatcher.catalog.registry.source import RegistrySource, document_path
from llmdispatcher.runtime import cache_folder

GOOD = {
    "https://registry.example.com": "https://registry.example.com",
    "https://registry.example.com/": "https://registry.example.com",
    "https://registry.example.com:8443/a/b//": "https://registry.example.com:8443/a/b",
    "https://10.1.2.3/registry": "https://10.1.2.3/registry",
    "http://localhost:8000": "http://localhost:8000",
    "http://127.0.0.1:8000/x": "http://127.0.0.1:8000/x",
    "http://[::1]:8000": "http://[::1]:8000",
    "file:///srv/registry": "/srv/registry",
    "file://localhost/srv/a%20b": "/srv/a b",
    "/srv/registry": "/srv/registry",
}
BAD = [
    "",
    "http://registry.example.com",
    "http://0.0.0.0:8000",
    "https://0.0.0.0",
    "https://[::]/x",
    "https://[::ffff:0.0.0.0]",
    "https://0",
    "https://0x7f.1",
    "http://127.0.0.2",
    "http://localhost.example.com",
    "http://127.0.0.1@example.com",
    "https://user:secret@registry.example.com",
    "https://registry.example.com/?token=secret",
    "https://registry.example.com/#x",
    "https://registry.example.com/a b",
    "https://registry.example.com:notaport",
    "https://",
    "ftp://registry.example.com",
    "file://server/share",
    "file:///srv?x=1",
    "/srv/reg\x00istry",
    "https://registry.example.com/\r\nX: y",
    None,
    7,
    b"/srv",
]


@pytest.mark.parametrize(("given", "told"), GOOD.items())
def test_a_good_address(given, told):
    """Nets without a slash at the end, folders as paths."""
    assert told == str(RegistrySource.of(given))


@pytest.mark.parametrize("given", BAD, ids=repr)
def test_a_bad_address(given):
    """Refused when the registry is made, without quoting a secret."""
    with pytest.raises(ConfigError) as caught:
        Registry(given)

    assert "secret" not in str(caught.value)


def test_a_path_object_is_a_folder():
    """Even if it looks like something else."""
    assert Path("x") == RegistrySource.of(Path("x")).folder


@pytest.mark.parametrize("vendor", ["", "../x", "a/b", "A", "a.b", "x" * 65, ".."])
def test_a_vendor_is_no_path(vendor):
    """Whatever a manifest says, nothing above the registry is asked for."""
    with pytest.raises(ConfigError):
        document_path(vendor)


SETTINGS = {
    "ttl 0": {"ttl": 0},
    "ttl as text": {"ttl": "1d"},
    "timeout below": {"timeout": -1},
    "pins as list": {"versions": ["openai"]},
    "pin as text": {"versions": {"openai": "7"}},
    "pin 0": {"versions": {"openai": 0}},
    "pin as flag": {"versions": {"openai": True}},
    "pin of nobody": {"versions": {"": 1}},
    "vendors": {"vendors": ["../x"]},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_wrong_settings_are_told(settings):
    """At once, with the field."""
    with pytest.raises(ConfigError, match="registry"):
        Registry("/srv/registry", **settings)


def test_making_one_touches_nothing(tmp_path, monkeypatch):
    """No folder is made, no environment read."""
    monkeypatch.setenv("LLMDISPATCHER_CACHE_DIR", str(tmp_path / "cache"))
    Registry("https://registry.example.com")

    assert [] == list(tmp_path.iterdir())


HOME = PurePosixPath(Path.home())
PLACES = {
    "own": ({"LLMDISPATCHER_CACHE_DIR": "/c", "XDG_CACHE_HOME": "/x"}, "linux", "/c"),
    "blank own": ({"LLMDISPATCHER_CACHE_DIR": "  ", "XDG_CACHE_HOME": "/x"}, "linux", "/x/llmdispatcher"),
    "xdg": ({"XDG_CACHE_HOME": "/x"}, "linux", "/x/llmdispatcher"),
    "relative xdg": ({"XDG_CACHE_HOME": "x"}, "linux", f"{HOME}/.cache/llmdispatcher"),
    "linux": ({}, "linux", f"{HOME}/.cache/llmdispatcher"),
    "mac": ({"XDG_CACHE_HOME": "/x"}, "darwin", f"{HOME}/Library/Caches/llmdispatcher"),
    "windows": ({"LOCALAPPDATA": "/l"}, "win32", "/l/llmdispatcher/Cache"),
    "bare windows": ({}, "win32", f"{HOME}/AppData/Local/llmdispatcher/Cache"),
}


@pytest.mark.parametrize(("environ", "platform", "folder"), PLACES.values(), ids=PLACES)
def test_the_cache_lies_where_the_platform_keeps_caches(environ, platform, folder):
    """Or where the user says."""
    assert folder == str(cache_folder(environ, platform))
