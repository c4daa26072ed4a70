"""What is kept of a finished study: data frames to read, an RO-Crate of how it was made, a release."""
