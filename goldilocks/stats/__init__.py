"""Estimates with their intervals, and what several seeds say together."""
