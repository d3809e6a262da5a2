"""The vendors' own SDKs as foreign clients of what the library writes: they must understand every answer."""
