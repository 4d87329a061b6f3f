"""The captioning engine: encoding, search and explanation of photos, for one model or an ensemble."""
