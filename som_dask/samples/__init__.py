"""Read any supported input as a table of samples by features, in blocks."""
