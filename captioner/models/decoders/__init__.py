"""Text decoders with cross-attention: Transformer and LSTM, and their key-value caches."""
