"""Image encoders: timm models, their weights, grids and receptive fields."""
