"""Models from object stores and web servers: listed in the background, fetched into a cache."""
