"""Generated from protos/yumen/v1; do not edit."""
