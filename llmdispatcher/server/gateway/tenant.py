"""What vendors are told of users: neither names nor ids, but hashes that mean nothing outside of this server."""

from __future__ import annotations

import hashlib
import hmac

from ..keys import KeyStore

_NAME = "tenant"


class TenantHashes:
    """Hashes of users' ids and cache keys, the same over all workers and hosts of one keys' database.

    Equal values of two organizations have different hashes, so that no vendor sees them as one user, and no cache is shared.
    """

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys
        self._secret: bytes | None = None

    def hash_for(self, organization: str, value: str) -> str:
        """The HMAC of a value for an organization: 64 hex digits, which is the most that OpenAI takes.

        Raises :class:`VendorUnavailable` while the database is away, until it has been asked once.
        """
        if self._secret is None:
            self._secret = self._keys.server_secret(_NAME)
        said = f"{len(organization)}:{organization}\0{value}"
        return hmac.new(self._secret, said.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
