"""What the change log costs a write, and how many bytes it keeps."""
