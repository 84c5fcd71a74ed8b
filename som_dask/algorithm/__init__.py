"""The self-organizing map on arrays, as in a textbook: lattice, neighborhood, batch rule, online rule, measures."""
