"""Attacks: every one turns signals into scores that are higher for members."""
