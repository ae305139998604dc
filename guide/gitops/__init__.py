"""Folders of rendered plans: written, verified, compared, and made by kustomize."""
