"""WebDataset tar shards: reading, streaming and writing."""
