"""How good is a model on a split? Captions it, scores it, judges it, and shows its best and worst."""
