"""Training by the batch rule and the online rule, and retraining."""
