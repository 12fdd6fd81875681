"""The study file: what it may say (`schema`) and how it is read and written (`load`)."""
