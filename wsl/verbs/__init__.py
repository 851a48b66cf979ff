"""One verb a module: train, localize, evaluate, visualize; each is a function of its configuration."""
