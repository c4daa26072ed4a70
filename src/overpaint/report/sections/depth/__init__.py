"""What stays below the junk, and what comes back by other means."""
