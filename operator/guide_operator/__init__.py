"""The Kubernetes operator: watches InferencePlans and nodes, writes advice and status."""
