"""Receipts: what calls cost, signed so that anybody can verify it. Needs the extra ``receipts``; constructors say so."""
