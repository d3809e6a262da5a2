"""Budgets of money: settings, what a call may cost at most, and where budgets are kept."""
