"""Interactive viewer of captions and their maps: HTML, CSS and JavaScript, for a written page or a server."""
