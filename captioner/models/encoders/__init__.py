"""Image encoders and what is known of their grids."""
