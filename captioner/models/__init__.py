"""What computes? Encoder, attention, decoder: pure torch."""
