"""The library inside other libraries: one module for each, imported by those who use it."""
