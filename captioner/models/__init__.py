"""Encoders, attention and decoders in pure PyTorch."""
