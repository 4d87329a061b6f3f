"""How does a photo become pixels, and a map become a photo again?"""
