"""Budgets of money: their settings, the most that a call may cost, and the stores that hold what is spent."""
