"""Many requests: files, runs and estimates without the command line."""
