"""What a notebook does with a pair of models of its own."""
