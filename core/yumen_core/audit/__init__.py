"""What an auditor does with a log's files and public keys: nothing here connects anywhere."""
