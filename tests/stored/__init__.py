"""What must stay as it is while the package's files move: its names, its shapes, its wheel, and its files on disk.

``shapes/`` holds what the package promises as text, one file for each kind of promise. ``python -m tests.stored.write`` writes
them anew; ``test_shapes.py`` makes the same texts and compares. Whoever changes a promise on purpose runs the program, and the
difference is reviewed as any other.

``v0_1_0/`` holds a sample of every file that version 0.1.0 writes. It was written once, by ``write_samples.py``, and is never
written again: ``test_samples.py`` reads it with whatever code there is today.
"""
