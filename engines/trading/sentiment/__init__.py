"""Market sentiment: headlines that are scored and decay, and what prices and options say."""
