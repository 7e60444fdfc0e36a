"""Which candidates are worth measuring next."""
