"""Computation: state in, events out. Pure Python and NumPy; no Django, no sockets, no delivery."""
