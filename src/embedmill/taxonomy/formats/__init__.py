"""Files of terms, a module for each format: to a tree, and from it; `registry` knows them all."""
