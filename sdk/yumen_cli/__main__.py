"""`python -m yumen_cli` is `yumen`."""

from yumen_cli.main import run

if __name__ == "__main__":
    run()
