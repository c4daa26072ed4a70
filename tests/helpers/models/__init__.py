"""What is done with tiny models: trainings, evaluations, activations."""
