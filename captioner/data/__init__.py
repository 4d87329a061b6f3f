"""Where do image–caption pairs come from?"""
