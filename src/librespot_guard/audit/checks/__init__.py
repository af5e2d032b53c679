"""The checks, one module for each family of them; `audit.registry` collects them."""
