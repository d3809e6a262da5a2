"""``vNNNN_what.py``, whose ``revision`` is ``"NNNN"`` and whose ``down_revision`` is the one before."""
