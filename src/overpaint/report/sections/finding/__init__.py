"""What clearing gives back, and whether that is more than chance."""
