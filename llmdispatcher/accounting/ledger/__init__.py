"""The ledger: every call and every attempt in a database, with its vendor, usage and cost, and never a prompt or a response."""
