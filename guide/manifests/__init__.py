"""An answer as Kubernetes objects and as files, in the formats of those who apply them (pure)."""
