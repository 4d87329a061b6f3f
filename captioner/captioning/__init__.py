"""Captioning engine: encode, search and explain, for one model or an ensemble, one photo or a stream."""
