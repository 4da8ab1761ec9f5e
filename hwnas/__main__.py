"""`python -m hwnas`."""

from hwnas.cli.app import main

if __name__ == "__main__":
    main()
