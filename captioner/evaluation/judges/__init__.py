"""Judges: figures about each caption of a split besides its scores."""
