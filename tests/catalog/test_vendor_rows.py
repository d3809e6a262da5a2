"""Vendors are rows, found by their names in any spelling; that each is whole is shown by ``test_compatible_vendors``."""

import pytest

from llmdispatcher.catalog import canonical, vendor_row
from llmdispatcher.catalog.facts import in_family

HEADERS = {
    "openai": ("Authorization", "Bearer "),
    "anthropic": ("x-api-key", ""),
    "google": ("x-goog-api-key", ""),
    "azure": ("api-key", ""),
}


@pytest.mark.parametrize(("name", "header"), HEADERS.items())
def test_each_vendor_is_shown_the_key_its_own_way(name, header):
    """The header that carries the key, and what stands before it."""
    row = vendor_row(name)

    assert header == (row.key_header, row.key_prefix)


def test_google_keys_are_looked_for_in_order():
    """Google's three names for one key, the most specific first."""
    assert ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GEMINI_API_KEY") == vendor_row("google").key_env


def test_anthropic_is_told_which_version_is_spoken():
    """The version header is constant."""
    assert (("anthropic-version", "2023-06-01"),) == vendor_row("anthropic").headers


def test_azure_has_no_address_of_its_own():
    """Every Azure resource has its own host; it must be given."""
    assert None is vendor_row("azure").base_url
    assert ("AZURE_OPENAI_ENDPOINT",) == vendor_row("azure").url_env


@pytest.mark.parametrize("spelling", ["azure", "azure-openai", " Azure-OpenAI ", "AZURE"])
def test_azure_has_two_names(spelling):
    """Both names, in any case and with blanks around, are one vendor."""
    assert "azure" == canonical(spelling)
    assert "azure" == vendor_row(spelling).name


def test_an_unknown_vendor_has_no_row():
    """The catalog does not guess."""
    assert None is vendor_row("acme")


@pytest.mark.parametrize(
    ("kind", "model", "belongs"),
    [
        ("openai", "gpt-9-nova", True),
        ("openai", "o3-mini", True),
        ("openai", "claude-opus-5", False),
        ("azure-openai", "gpt-35-turbo", True),
        ("google", "gemma-4-31b-it", True),
        ("anthropic", "claude-next", True),
        ("acme", "gpt-4o", False),
    ],
)
def test_families_are_globs(kind, model, belongs):
    """A name nobody has seen yet is placed by how it begins."""
    assert belongs == in_family(kind, model)
