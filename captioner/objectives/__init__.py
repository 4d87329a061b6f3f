"""What is learned?"""
