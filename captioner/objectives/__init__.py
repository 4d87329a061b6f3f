"""Training objectives: teacher forcing, self-critical training, and their loss terms."""
