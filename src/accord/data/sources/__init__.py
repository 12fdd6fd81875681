"""Where rows come from: one file a data set, each with a `load_*` function that returns a `DataSet`."""
