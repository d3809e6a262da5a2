"""Checks that the shell scripts beside this file run."""
