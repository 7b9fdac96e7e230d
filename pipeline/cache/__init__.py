"""Cache: what is on disk, and whether it still holds."""
