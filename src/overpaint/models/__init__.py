"""Models: loaded, taken apart by structure, hooked, changed and restored."""
