"""Two studies compared: does a change move the exponent, or only the constant?"""
