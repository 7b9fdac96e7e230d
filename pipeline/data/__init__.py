"""Data: where records come from, and which of them are audited."""
