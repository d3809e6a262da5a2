"""OpenAI's chat completions, and whoever speaks them."""
