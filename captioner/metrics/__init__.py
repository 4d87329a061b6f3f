"""Caption metrics as pure functions, without torch."""
