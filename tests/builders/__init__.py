"""Small real federations for tests: true keys and certificates, no network."""
