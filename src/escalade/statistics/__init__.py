"""Statistics of problems and samples: metrics, intervals, frontiers, risks."""
