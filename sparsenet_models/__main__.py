"""`python -m sparsenet_models` is `sparsenet`, installed or from a checkout."""

from .cli import main

if __name__ == "__main__":
    main()
