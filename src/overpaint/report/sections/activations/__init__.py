"""What happens in the residual stream."""
