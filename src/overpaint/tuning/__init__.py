"""Settings of a method, tried on the split `fit` alone: the grid of them, what each attains, and which one is chosen."""
