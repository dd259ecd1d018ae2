"""Servers and harnesses for integration and fault tests."""
