"""Pages of results: a static site that opens from disk, and the same pages served from a live database."""
