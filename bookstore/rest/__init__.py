"""The REST interface: one module for each theme, over `bookstore.library`."""
