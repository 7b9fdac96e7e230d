"""Stages: programs that each turn named files into one."""
