"""The Dagster graph, thin: one file a stage. Every asset reads its inputs, calls one `cosmos_ops` function and reports what came out."""
