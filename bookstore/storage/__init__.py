"""Versioned object stores: what they can do (`base`), S3 (`s3`), and one in memory (`memory`)."""
