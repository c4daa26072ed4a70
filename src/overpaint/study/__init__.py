"""What a study says, read before anything runs: its configuration, checks and plan (no torch, no pandas)."""
