"""Networks in stacked form, which run forward and backward for the models of many clients at once."""
