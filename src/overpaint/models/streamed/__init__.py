"""Models read from their folder part by part, and many passes through one."""
