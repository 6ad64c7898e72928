package staying
