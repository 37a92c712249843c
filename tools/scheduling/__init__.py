"""Runs stages of the pipeline side by side: what is out of date, what waits for what, and how many fit the machine."""
