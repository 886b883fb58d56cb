"""The virtual head and the virtual scanner."""
