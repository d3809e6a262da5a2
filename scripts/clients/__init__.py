"""Foreign clients of the gateway: ``scripts/strangers gateway`` takes each through a session on each kind of upstream."""
