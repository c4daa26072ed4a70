"""Settings of a method, tried on the split `fit` alone: their grid, what each attains, and which one is chosen."""
