"""Statistics: arrays in, numbers out; no file, no clock."""
