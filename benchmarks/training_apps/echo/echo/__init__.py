"""An app without work, to time what is around it."""
