"""Expressions: text, checked, compiled to one kernel."""
