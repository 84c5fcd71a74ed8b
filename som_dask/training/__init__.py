"""Train maps by the batch rule or the online rule, and retrain them."""
