"""One verb a module: train, localize, evaluate, compare, visualize; each is a function of its configuration."""
