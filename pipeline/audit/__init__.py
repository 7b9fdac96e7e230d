"""Audit: every attack run on the cached signals, and the result as text."""
