"""The pure heart: ballots, confidence, decisions and the machine that executes a route without any I/O."""
