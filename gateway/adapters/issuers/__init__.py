"""What other parties sign: ID tokens of CI providers, and their keys."""
