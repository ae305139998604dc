"""The search over every deployment the cluster could hold; `recommend` is its front door."""
