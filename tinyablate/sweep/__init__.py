"""Sweep files: read, checked and expanded into cells. Import from `sweep.load`, `sweep.schema` and `sweep.metrics`."""
