"""Many what-ifs at once: a study of plans and clusters, answered by the one engine in many
processes or on a Dask cluster, kept in a Parquet file.
"""
