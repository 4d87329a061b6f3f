"""Distributed training: strategies, sharded weights, synchronised batch norms, rank failures."""
