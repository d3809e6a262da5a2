"""What receipts promise."""
