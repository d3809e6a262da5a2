"""Vendors learn no name of a user: they get hashes that differ from one organization to another."""

from __future__ import annotations

import concurrent.futures

from llmdispatcher.server import KeyStore
from llmdispatcher.server.gateway.tenant import TenantHashes


def test_hashes_are_of_the_organization_and_the_same_everywhere(tmp_path):
    """Another store over the same database gives the same ones; another organization, value or server others."""
    with_one = TenantHashes(KeyStore(tmp_path / "one.db")).hash_for("acme", "ada")
    again = TenantHashes(KeyStore(tmp_path / "one.db"))
    other = TenantHashes(KeyStore(tmp_path / "other.db"))

    assert with_one == again.hash_for("acme", "ada")
    assert 64 == len(with_one)
    assert 5 == len({with_one, again.hash_for("acme", "bob"), again.hash_for("b", "ada"), other.hash_for("acme", "ada"), "ada"})
    assert again.hash_for("a", "b\0c") != again.hash_for("a\0b", "c")


def test_workers_that_start_together_share_one_secret(tmp_path):
    """Whoever is first makes it."""
    stores = [KeyStore(tmp_path / "one.db") for _ in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda store: TenantHashes(store).hash_for("acme", "ada"), stores))

    assert 1 == len(found)
    for store in stores:
        store.close()
