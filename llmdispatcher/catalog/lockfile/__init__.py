"""Lockfiles: aliases that stand for ordered pools of models, in profiles."""
