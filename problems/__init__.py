"""What is optimized: problems, their data sets, and the named sets that group them."""
