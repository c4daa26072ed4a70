"""What stands for hubs and registries, and what is fetched from them."""
