"""Model architectures: what a config.json says, counted in weights and KV elements."""
