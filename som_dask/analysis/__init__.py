"""Analyses with a trained map: labels, measures of quality, clusters, and summaries of nodes."""
