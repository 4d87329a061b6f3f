"""Image–caption data sets: readers, preparation, stored features and batches."""
