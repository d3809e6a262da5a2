"""The response cache: answers that need not be asked for again."""
