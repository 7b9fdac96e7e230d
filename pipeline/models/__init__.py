"""Models: the one door to MindSpore."""
