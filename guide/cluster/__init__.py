"""What a cluster has: its API, and its nodes and pods read as an inventory."""
