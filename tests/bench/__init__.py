"""Bench: how long an audit takes beside MindArmour's, and beside plain loops.

`make bench` runs it; docs/bench.md tells what is measured, and how to read it.
"""
