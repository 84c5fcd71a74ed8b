"""Pictures of a map, and the report."""
