"""Figures by theme, in one style: each function takes tables and returns a Matplotlib figure."""
