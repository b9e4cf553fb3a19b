"""Cells, pairs and neighbours: who is near whom, and is it allowed."""
