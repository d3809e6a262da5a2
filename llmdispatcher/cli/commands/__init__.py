"""The commands: one file for each word that a user types."""
