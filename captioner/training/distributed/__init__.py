"""Training on several processes: strategies, sharded weights, failures of ranks."""
