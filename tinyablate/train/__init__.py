"""The fine-tuning core: one job in, events out. It knows no sweep, store or ray; the package itself is import-free."""
