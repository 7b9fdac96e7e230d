"""Attacks: each turns signals into scores that are higher for likelier members."""
