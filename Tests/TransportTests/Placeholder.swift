// Transport tests
