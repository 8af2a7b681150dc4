"""Tables, grids, curves, the HTML page."""
