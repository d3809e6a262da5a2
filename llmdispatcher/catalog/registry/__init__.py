"""Registries: published models and prices; fetched, bounded, cached on disk, and put over the packaged catalog."""
