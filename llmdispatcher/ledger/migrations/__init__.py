"""The history of the ledger's schema: one numbered file for each change, in one line; run by ``migrating``."""
