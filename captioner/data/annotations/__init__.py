"""Objects and regions marked in photos: boxes, masks and the words that name them."""
