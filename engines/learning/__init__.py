"""Features, training, prediction and monitoring of small models."""
