"""Budgets of money: settings, what a call may cost at most, where budgets are kept, and the gate that every attempt passes."""
