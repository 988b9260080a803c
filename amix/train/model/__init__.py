"""Code that depends on models: how a classifier is loaded, and how a plan is applied inside it."""
