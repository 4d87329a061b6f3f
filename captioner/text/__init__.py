"""Tokenizers: captions to token ids and back to words."""
