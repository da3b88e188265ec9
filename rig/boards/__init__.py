"""Boards: what a test may touch, how each kind is realised, and which boards this bench has."""
