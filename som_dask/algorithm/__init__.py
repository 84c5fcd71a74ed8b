"""The map on arrays, as textbooks have it: lattice, neighborhood, batch rule, online rule, measures."""
