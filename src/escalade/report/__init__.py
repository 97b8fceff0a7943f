"""The report of runs and comparisons: one HTML file that needs nothing else; its charts and tables as files."""
