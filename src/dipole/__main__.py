"""`python -m dipole`, which `accelerate launch -m dipole` runs too."""

from dipole.cli import main

if __name__ == "__main__":
    main()
