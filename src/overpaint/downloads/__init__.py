"""Models and data from hubs and registries."""
