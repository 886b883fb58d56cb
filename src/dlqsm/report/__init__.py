"""Figures, methods text and the HTML page."""
