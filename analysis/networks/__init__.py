"""What several networks have learned about the same liquids, side by side."""
