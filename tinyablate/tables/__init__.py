"""Tables: numbers of a sweep's cells, their layout and how they print. Import from its modules."""
