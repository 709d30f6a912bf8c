"""The services; none sees another's insides, only its `contract`."""
