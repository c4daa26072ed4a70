"""Where texts come from, and the rows that all of them become."""
