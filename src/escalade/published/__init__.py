"""The published system's layout, tables and entry points, on top of ours: what `router_code/` is the door to."""
