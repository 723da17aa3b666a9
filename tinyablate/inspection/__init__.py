"""Looking at single trials and rows of a database: find them, show one, tell two apart. It changes nothing."""
