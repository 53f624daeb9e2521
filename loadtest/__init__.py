"""Fake traffic that forces the cluster to carry more than it needs: `python -m loadtest SHAPE`, see docs/load.md."""
