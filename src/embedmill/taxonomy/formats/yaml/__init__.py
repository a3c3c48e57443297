"""YAML: `reader` makes a tree of the events of a parser, `writer` lines of a tree; comments and quotes stay."""
