"""Every cell of the sweep, and the claims on them."""
