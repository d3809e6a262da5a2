"""Facts as data: vendors, models and prices, each with source and date."""
