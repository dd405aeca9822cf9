"""Option pricing, Greeks and chains."""
