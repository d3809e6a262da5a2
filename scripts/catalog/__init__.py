"""How the catalog's data is made: facts that were gathered, and rows that were read from the vendors' own pages."""
