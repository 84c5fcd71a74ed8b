"""Benchmarks, run on request: ``python -m tests.benchmarks [names...] [--quick]``.

They print tables and write JSON, and never fail because something was slow. What is compared runs side by side, in
turns, in one process: on a noisy machine only such ratios mean anything.
"""
