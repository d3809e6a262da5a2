"""The public test tools, tested."""
