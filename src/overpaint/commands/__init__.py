"""The command `overpaint`."""
