"""The version, in a module of its own: whatever needs it imports nothing else of the package for it."""

__version__ = "0.1.0"
