"""Networks in stacked form: forward and backward of many clients' copies at once."""
