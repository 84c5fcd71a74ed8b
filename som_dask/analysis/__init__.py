"""What a trained map tells: labels, measures, clusters, summaries of nodes."""
