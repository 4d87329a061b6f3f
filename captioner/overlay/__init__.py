"""Overlays: maps drawn on photos as pictures, animations, figures, arrays and an interactive page."""
