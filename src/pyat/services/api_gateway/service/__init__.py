"""The rules of the gateway: who asks, how often, which way to a service, when to leave a broken one alone."""
