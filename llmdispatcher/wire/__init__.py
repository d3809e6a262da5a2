"""Pure codecs: values in, bytes out, and back. Whatever the bytes, only the library's own errors are raised."""
