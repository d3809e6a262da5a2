"""Registries: models and prices that somebody publishes; fetched, bounded, cached on disk, and put over the packaged catalog."""
