"""Exact arithmetic: the same bits on every machine, in any order of adding."""
