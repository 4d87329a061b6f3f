"""How good is a caption? Pure functions, without torch."""
