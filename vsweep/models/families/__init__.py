"""The built-in families of models, and the layers that they are made of."""
