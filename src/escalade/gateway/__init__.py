"""The gateway: an OpenAI-compatible server in which a routing string is a model name."""
