"""Exact arithmetic whose results are the same bits on every machine and in any order of adding."""
