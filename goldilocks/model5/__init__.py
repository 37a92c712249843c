"""Model 5: the model, its initialisation, its training, what is recorded of it, and its export."""
