"""Every call and every attempt in a database: who was asked and what it cost, never a prompt or a response."""
