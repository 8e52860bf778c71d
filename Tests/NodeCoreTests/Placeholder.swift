// NodeCore tests
