"""Training of captioners with Lightning."""
