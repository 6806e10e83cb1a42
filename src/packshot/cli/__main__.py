"""`python -m packshot.cli`."""

from packshot.cli import main

if __name__ == "__main__":
    main()
