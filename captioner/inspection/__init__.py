"""What is wrong with a dataset, before anyone trains on it?"""
