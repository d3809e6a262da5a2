"""Decisions as values: rules, optimizers, retry schedules and parking; no I/O."""
