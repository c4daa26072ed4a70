"""Unlearning methods and what trains them."""
