"""The defaults as a user gets them: two or more vendors, untouched settings, and whoever gets a prompt."""
