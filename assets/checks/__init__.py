"""Asset checks: Great Expectations suites over the data half's tables, and soundness of scores."""
