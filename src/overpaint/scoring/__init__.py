"""Questions and texts scored by a model as it is at the moment."""
