"""`/api/ai/`, by what it is about."""
