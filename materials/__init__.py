"""What everything talks about: candidates, properties, goals, the design space and the convex hull."""
