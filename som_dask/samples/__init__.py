"""Any input as a table of samples by features, in blocks."""
