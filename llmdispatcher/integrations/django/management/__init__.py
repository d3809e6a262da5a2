"""Django finds its commands below."""
