"""Sources of rows. Each data set is one file with a `load_*` function that returns a `DataSet`."""
