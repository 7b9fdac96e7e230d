"""Signals: numbers computed from a model's logits, in nats."""
