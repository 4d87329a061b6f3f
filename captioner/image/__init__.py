"""Decoding of photos, transforms to model inputs, and geometry that maps attention back to the photo."""
