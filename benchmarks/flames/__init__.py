"""Where the proxy's time goes: stacks sampled under load, as flame graphs."""
