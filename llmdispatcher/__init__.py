"""The synchronous dispatcher for large language models."""
